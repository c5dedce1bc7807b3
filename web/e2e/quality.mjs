// The pages of code quality, and its events over charts.
import assert from 'node:assert/strict';
import { startServer } from '../scripts/browser.mjs';
import { demo, write } from '../scripts/history.mjs';
import { CONFIG, quality } from '../scripts/quality.mjs';
import { axe, open, reach, settle, test } from './harness.mjs';

const HOSTILE = '<img src=x onerror="window.hurt=1">/<b>%2e';
const STOREFRONT = 'quality/example_storefront';
const PAYMENT = 'quality/com.example:payment-api';
const EXPLORE = 'explore?q=sonar_coverage_ratio&from=now-30d&to=now&events=quality';
const PAGES = [
  'quality',
  'quality?branch=*&sort=-bugs',
  PAYMENT,
  `${STOREFRONT}?metric=ratings&branch=release%2F2.4`,
  'quality/example_infrastructure',
  'quality/nobody.knows:it.js',
  EXPLORE,
];

const count = (page, selector) => page.locator(selector).count();

export async function testQuality() {
  const sonar = quality();
  const server = await startServer(CONFIG);
  try {
    await test('without a sync the page says how to begin', async () => {
      const page = await open(`${server.url}quality`, { permissions: ['clipboard-read', 'clipboard-write'] });
      await page.getByText('No project is watched yet.').waitFor();
      await axe(page, 'no sync');
      await page.getByRole('button', { name: 'Copy' }).click();
      assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^sonar:\n {2}url: https/);
      await page.shut();
    });

    await test('states of the sync before anything came are told apart', async () => {
      const status = { ...sonar.status, problems: [], ended_ms: null, success_ms: null };
      for (const [change, words] of [
        [{ is_running: true }, 'The first sync is running.'],
        [{}, 'Nothing came in yet.'],
        [{ ended_ms: Date.now() }, 'The sync finds no project.'],
        [{ problems: [{ project: '', message: 'No such token.', at_ms: 1 }] }, 'No such token.'],
      ]) {
        const page = await open(`${server.url}quality`, {
          sonar: { events: [], projects: [], status: { ...status, ...change } },
        });
        await page.getByText(words).first().waitFor();
        await axe(page, words);
        await page.shut();
      }
    });

    await write(server.url, sonar.all);
    await write(server.url, demo(1));

    for (const theme of ['light', 'dark']) {
      await test(`pages of quality are clean and accessible, ${theme}`, async () => {
        const page = await open(server.url, { sonar, colorScheme: theme });
        for (const path of PAGES) {
          await page.goto(server.url + path);
          await settle(page);
          await page.waitForTimeout(300);
          await axe(page, `${theme} ${path}`);
          assert.deepEqual(page.problems, [], path);
        }
        await page.shut();
      });
    }

    await test('pages of quality fit 320 pixels', async () => {
      const page = await open(server.url, { sonar, viewport: { width: 320, height: 640 } });
      for (const path of PAGES) {
        await page.goto(server.url + path);
        await settle(page);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= 320, `${path} is ${wide} wide`);
      }
      await page.shut();
    });

    await test('the keyboard reaches everything on the pages of quality', async () => {
      for (const path of ['quality', PAYMENT, EXPLORE]) {
        const page = await open(server.url + path, { sonar });
        await settle(page);
        await reach(page, path);
        await page.shut();
      }
    });

    await test('projects are listed, filtered, sorted, and what is not measured has no number', async () => {
      const page = await open(server.url, { sonar });
      await page.keyboard.type('gq');
      await page.waitForURL(/quality$/);
      await page.getByRole('link', { name: 'Payment API' }).waitFor();
      assert.equal(await count(page, 'td.project'), 6);
      const infrastructure = page.locator('tr', { hasText: 'Infrastructure' });
      assert.equal(await infrastructure.locator('.value').innerText(), '–');
      assert.match(await infrastructure.innerText(), /\b0\b/);
      await page.getByText('Give the token the right to browse it.').waitFor();
      await page.getByText('1 project not').waitFor();
      await page.waitForFunction(() => document.querySelectorAll('td path.line').length === 5);
      const failed = page.getByRole('button', { name: /^Failed \d/ });
      const expected = Number((await failed.innerText()).replace(/\D+/, ''));
      await failed.click();
      await page.waitForURL(/gate=error/);
      assert.equal(await count(page, 'td.project'), expected);
      await page.getByRole('button', { name: /^All/ }).click();
      await page.getByRole('button', { name: 'Bugs' }).click();
      await page.waitForURL(/sort=-bugs/);
      assert.equal(await page.locator('th[aria-sort=descending]').innerText(), 'Bugs\n↓');
      const bugs = await page.locator('td.project ~ td:nth-child(4)').allInnerTexts();
      const numbers = bugs.map((text) => Number.parseInt(text, 10));
      assert.deepEqual(
        numbers,
        [...numbers].sort((a, b) => b - a),
      );
      await page.getByLabel('Branch').selectOption('release/2.4');
      await page.waitForURL(/branch=release%2F2\.4/);
      await page.waitForFunction(() => document.querySelectorAll('td.project').length === 3);
      await page.keyboard.press('Tab');
      await page.keyboard.press('/');
      await page.keyboard.type('payment');
      await page.waitForURL(/q=payment/);
      assert.equal(await count(page, 'td.project'), 1);
      await page.reload();
      await page.getByRole('link', { name: 'Payment API' }).click();
      await page.waitForURL(/quality\/com\.example:payment-api\?branch=release%2F2\.4$/);
      await page.shut();
    });

    await test('a history has figures, steps, marks and a table, and its address says what is shown', async () => {
      const page = await open(`${server.url}${PAYMENT}?branch=release%2F2.4`, { sonar });
      await page.getByRole('heading', { name: 'Payment API' }).waitFor();
      assert.equal(await page.getByLabel('Branch').inputValue(), 'release/2.4');
      await page.locator('.u-over').first().waitFor();
      assert.equal(await count(page, 'section.chart'), 7);
      assert.match(await page.locator('dl.strip').innerText(), /Coverage\n\d+(\.\d+)? %\n[+−]\d/);
      const marked = sonar.events.filter(
        (event) => event.project === 'com.example:payment-api' && event.branch === 'release/2.4',
      );
      const figure = page.getByRole('figure', { name: /^Coverage/ });
      assert.match(await figure.getAttribute('aria-label'), new RegExp(`${marked.length} events? marked`));
      const events = page.getByRole('region', { name: 'Table of analyses' }).locator('.event');
      assert.equal(await events.count(), marked.length);
      // The tooltip at a mark tells it.
      const box = await figure.locator('.u-over').boundingBox();
      let told = '';
      for (let x = 2; x < box.width && !/Version/.test(told); x += 5) {
        await page.mouse.move(box.x + x, box.y + 60);
        told = (await page.locator('.tip .mark').allInnerTexts()).join();
      }
      assert.match(told, /Version 2\.4\.\d/);
      await page.mouse.move(5, 5);
      await page.getByRole('button', { name: 'Technical debt' }).click();
      await page.waitForURL(/metric=debt/);
      assert.equal(await count(page, 'section.chart'), 1);
      await page.getByRole('button', { name: 'Ratings' }).click();
      await page.goBack();
      await page.waitForURL(/metric=debt/);
      await page.getByLabel('Branch').selectOption('main');
      await page.waitForURL(/payment-api\?metric=debt$/);
      await page.getByRole('button', { name: /Time range/ }).click();
      await page.getByRole('button', { name: 'Last 7 days' }).click();
      await page.waitForURL(/from=now-7d/);
      await page.reload();
      await page.locator('.u-over').waitFor();
      await page.getByRole('link', { name: 'Explore', exact: true }).last().click();
      await page.waitForURL(/explore\?q=sonar_sqale_index_seconds.*events=quality&project=com\.example%3Apayment-api/);
      await page.getByRole('list', { name: 'Quality events' }).waitFor();
      await page.shut();
    });

    await test('ratings and gates are words, not colours alone', async () => {
      const page = await open(`${server.url}quality`, { sonar });
      const row = page.locator('tr', { hasText: 'Mobile app' });
      await row.getByText('Reliability E').waitFor();
      assert.match(await row.innerText(), /Passed|Failed/);
      await page.goto(`${server.url}${STOREFRONT}?metric=ratings`);
      await page.getByRole('list', { name: 'Quality gate' }).getByText('Passed').first().waitFor();
      await page
        .locator('.legend')
        .getByText(/^[A-E]$/)
        .first()
        .waitFor();
      await page.shut();
    });

    await test('quality events are switched on over any chart, filtered, and stay in the address', async () => {
      const page = await open(`${server.url}explore?q=up&from=now-30d&to=now`, { sonar });
      await page.locator('.u-over').waitFor();
      assert.equal(await page.getByRole('list', { name: 'Quality events' }).count(), 0);
      await page.getByRole('checkbox', { name: 'Quality events' }).check();
      await page.waitForURL(/events=quality/);
      const list = page.getByRole('list', { name: 'Quality events' });
      await list.waitFor();
      const all = await list.getByRole('listitem').count();
      assert.equal(all, Math.min(100, sonar.events.length));
      await page.getByLabel('Events of project').selectOption('com.example:payment-api');
      await page.waitForURL(/project=com\.example%3Apayment-api/);
      await page.waitForFunction((before) => document.querySelectorAll('.events li').length < before, all);
      await page.getByLabel('Events of branch').selectOption('release/2.4');
      await page.waitForURL(/branch=release%2F2\.4/);
      const wanted = sonar.events.filter(
        (event) => event.project === 'com.example:payment-api' && event.branch === 'release/2.4',
      ).length;
      await page.waitForFunction((number) => document.querySelectorAll('.events li').length === number, wanted);
      await page.reload();
      await page.waitForFunction((number) => document.querySelectorAll('.events li').length === number, wanted);
      // The one that has the focus stands out in the chart.
      const pixels = () => page.locator('.u-wrap canvas').evaluate((canvas) => canvas.toDataURL());
      const before = await pixels();
      await list.getByRole('link').first().focus();
      await page.waitForTimeout(100);
      assert.notEqual(await pixels(), before);
      await page.keyboard.press('Enter');
      await page.waitForURL(/quality\/com\.example:payment-api\?branch=release%2F2\.4/);
      await page.goBack();
      await page.getByRole('checkbox', { name: 'Quality events' }).uncheck();
      await page.waitForURL((url) => !url.search.includes('events') && !url.search.includes('branch'));
      assert.equal(await list.count(), 0);
      await page.shut();
    });

    await test('home tells what changed of late', async () => {
      const page = await open(server.url, { sonar });
      await page.getByRole('heading', { name: 'Recent changes' }).waitFor();
      assert.equal(await count(page, 'section[aria-labelledby=changes] li'), 5);
      await axe(page, 'home with changes');
      await page.shut();
    });

    await test('a sync that failed, or is late, is told where its numbers are', async () => {
      const ago = (hours) => Date.now() - hours * 3_600_000;
      const problems = [{ project: '', message: 'The token is not known.', at_ms: ago(1) }];
      for (const [change, words] of [
        [
          { problems, ended_ms: ago(1), success_ms: ago(50) },
          /The last sync failed\. The token is not known\..* 2 d ago/s,
        ],
        [{ ended_ms: ago(9) }, /No sync ended for longer than two intervals/],
        [{ lag_ms: 30 * 3_600_000 }, /Analyses wait to be stored, the oldest for 1 d 6 h/],
        [{ names: 'sonarcloud' }, /with the names of\s+sonarcloud/],
      ]) {
        const changed = { ...sonar, status: { ...sonar.status, ...change } };
        const page = await open(`${server.url}quality`, { sonar: changed });
        for (const path of ['quality', STOREFRONT]) {
          await page.goto(server.url + path);
          await page.locator('.note', { hasText: words }).waitFor();
        }
        await axe(page, String(words));
        await page.shut();
      }
    });

    await test('a running sync is seen, ended, and taken up again', async () => {
      const running = { ...sonar, status: { ...sonar.status, is_running: true } };
      const page = await open(server.url, { sonar: running });
      const job = {
        id: 7,
        kind: 'sonar.sync',
        title: 'Sync from SonarQube',
        state: 'running',
        progress: { done: 3, total: 12, unit: 'projects' },
        message: 'example_search',
        started_ms: Date.now() - 60_000,
        updated_ms: Date.now(),
        estimate_ms: 180_000,
      };
      const asked = [];
      await page.route('**/api/v1/jobs**', (route) => {
        const method = route.request().method();
        if (method === 'DELETE') {
          asked.push(route.request().url());
          Object.assign(job, { state: 'cancelled', estimate_ms: null, updated_ms: Date.now() });
          return route.fulfill({ status: 202 });
        }
        return route.fulfill({
          contentType: 'application/json',
          body: JSON.stringify({ status: 'success', data: { jobs: [job] } }),
        });
      });
      await page.route('**/api/v1/sonar/sync', (route) => {
        asked.push(route.request().method());
        Object.assign(job, { id: 8, state: 'running', updated_ms: Date.now() });
        return route.fulfill({ status: 202, contentType: 'application/json', body: '{"status":"success","data":{}}' });
      });
      await page.goto(`${server.url}quality`);
      const card = page.getByRole('region', { name: 'Sync' });
      await card.getByText('3 of 12 projects, about 3 min left · example_search').waitFor();
      assert.equal(await card.getByRole('progressbar').getAttribute('aria-valuenow'), '25');
      assert.ok(await page.getByRole('button', { name: 'Sync now' }).isDisabled());
      await axe(page, 'running sync');
      await card.getByRole('button', { name: 'Cancel' }).click();
      await card.getByText('cancelled').waitFor();
      await card.getByRole('button', { name: 'Resume' }).click();
      await card.getByRole('progressbar').waitFor();
      assert.deepEqual(asked, [`${server.url}api/v1/jobs/7`, 'POST']);
      await page.shut();
    });

    await test('an API that fails is told, and the page goes on', async () => {
      const page = await open(`${server.url}${STOREFRONT}`, { sonar });
      await page.route('**/api/v1/sonar/events*', (route) =>
        route.fulfill({ status: 400, contentType: 'application/json', body: '{"status":"error","error":"too many"}' }),
      );
      await page.reload();
      await page.getByText('Events cannot be shown: too many').waitFor();
      await page.locator('.u-over').first().waitFor();
      await page.goto(`${server.url}${EXPLORE}`);
      await page.getByText('Quality events cannot be shown: too many').waitFor();
      await page.shut();
    });

    await test('hostile names of projects, branches and events are text', async () => {
      const now = Date.now();
      const labels = { project: HOSTILE, branch: HOSTILE };
      const points = Array.from({ length: 24 }, (_, index) => [now - index * 3_600_000, 0.5]).reverse();
      await write(server.url, [
        [{ __name__: 'sonar_coverage_ratio', ...labels }, points],
        [{ __name__: 'sonar_analysis_timestamp_seconds', ...labels }, points.map(([ms]) => [ms, (now - 8e7) / 1000])],
      ]);
      const event = { time_ms: now - 3_600_000, project: HOSTILE, branch: HOSTILE, category: HOSTILE, name: HOSTILE };
      const branches = [
        { name: HOSTILE, is_main: true, analyzed_ms: now, stored_ms: now, gate: HOSTILE, gone_ms: null },
      ];
      const status = {
        ...sonar.status,
        problems: [{ project: HOSTILE, branch: HOSTILE, message: HOSTILE, at_ms: now }],
      };
      const projects = [{ key: HOSTILE, name: HOSTILE, synced_ms: now, branches }];
      const page = await open(`${server.url}quality`, { sonar: { status, projects, events: [event] } });
      await page.locator('td.project', { hasText: HOSTILE }).getByRole('link').click();
      await page.locator('h1', { hasText: HOSTILE }).waitFor();
      await page.locator('.u-over').first().waitFor();
      await page.locator('.event', { hasText: HOSTILE }).waitFor();
      await page.reload();
      await page.locator('h1', { hasText: HOSTILE }).waitFor();
      await page.goto(`${server.url}explore?q=up&events=quality&from=now-2h&to=now`);
      await page.locator('.events li', { hasText: HOSTILE }).waitFor();
      await page.goto(server.url);
      await page.locator('li', { hasText: HOSTILE }).waitFor();
      assert.equal(await page.evaluate(() => globalThis.hurt), undefined);
      await page.shut();
    });

    await test('a thousand projects are few rows until more are wanted', async () => {
      const [like] = sonar.projects;
      const projects = Array.from({ length: 1_000 }, (_, index) => ({
        ...like,
        key: `project-${index}`,
        name: `Project ${index}`,
      }));
      const page = await open(`${server.url}quality`, {
        sonar: { events: [], projects, status: { ...sonar.status, problems: [] } },
      });
      await page.getByText('50 of 1,006 shown').waitFor();
      assert.equal(await count(page, 'td.project'), 50);
      await page.getByRole('button', { name: 'Show 50 more' }).click();
      assert.equal(await count(page, 'td.project'), 100);
      await page.getByRole('searchbox').fill('project 99');
      await page.waitForFunction(() => document.querySelectorAll('td.project').length === 11);
      await page.shut();
    });
  } finally {
    await server.stop();
  }
}
