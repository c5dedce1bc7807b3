// Nothing is made up for the page here: a server that syncs from a stand-in for SonarCloud and gets a push.
import assert from 'node:assert/strict';
import { push, startServer } from '../scripts/browser.mjs';
import { axe, open, settle, test } from './harness.mjs';
import { PROJECT, startSonar } from './standin.mjs';

const BOTH = `explore?q=sonar_coverage_ratio{project="${PROJECT.key}"}&q=pytest_coverage_ratio&to=now&events=quality`;
// Not the name of the program.
const LINK = { name: PROJECT.name, exact: true };

/** Asks the API until `is` says so. */
async function eventually(url, is) {
  for (let tries = 0; tries < 300; tries += 1) {
    const { data } = await fetch(url()).then((answer) => answer.json());
    if (is(data)) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`It does not come: ${url()}`);
}

export async function testChain() {
  const source = await startSonar();
  const server = await startServer(
    `hosts:\n  enabled: false\nsonar:\n  url: ${source.url}\n  organization: example\n  calls_per_hour: 100000\n`,
  );
  try {
    await test('what is synced from SonarCloud is on the pages of quality', async () => {
      await push(
        server.url,
        'job/tests/branch@base64/bWFpbg==',
        '# TYPE pytest_coverage_ratio gauge\npytest_coverage_ratio 0.755\n',
      );
      await eventually(
        () => `${server.url}api/v1/sonar/status`,
        (data) => data.success_ms,
      );
      const page = await open(`${server.url}quality`);
      await page.getByRole('link', LINK).waitFor();
      await settle(page);
      assert.match(await page.locator('tr', { hasText: PROJECT.name }).innerText(), /81/);
      await axe(page, 'quality, synced');
      await page.getByRole('link', LINK).click();
      await page.getByRole('heading', { name: PROJECT.name }).waitFor();
      await page.locator('.u-over').first().waitFor();
      const marked = source.all.flatMap(({ events }) => events).length;
      const label = await page.getByRole('figure', { name: /^Coverage/ }).getAttribute('aria-label');
      assert.match(label, new RegExp(`${marked} events marked`));
      await page.shut();
    });

    await test('a sync is begun by hand, and goes on where the last one was', async () => {
      const page = await open(`${server.url}quality`);
      await page.getByRole('link', LINK).waitFor();
      const before = source.calls.length;
      const { started_ms: began } = (await fetch(`${server.url}api/v1/sonar/status`).then((one) => one.json())).data;
      await page.getByRole('button', { name: 'Sync now' }).click();
      await eventually(
        () => `${server.url}api/v1/sonar/status`,
        (data) => !data.is_running && data.started_ms > began,
      );
      assert.ok(source.calls.length > before);
      await page.getByText(/synced (now|\d+ s ago)/).waitFor();
      await page.shut();
    });

    await test('synced history, a push and events of quality are on one chart', async () => {
      // The chart's last point lies before now, by less than its step of five seconds.
      await eventually(
        () => `${server.url}api/v1/query?query=pytest_coverage_ratio&time=${Date.now() / 1000 - 5}`,
        (data) => data.result.length > 0,
      );
      const page = await open(`${server.url + BOTH}&from=now-30m`);
      await page.locator('.u-over').waitFor();
      const legend = page.locator('.legend');
      await legend.getByText(PROJECT.key).first().waitFor();
      await page.getByRole('list', { name: 'Quality events' }).waitFor();
      const chart = page.getByRole('figure').first();
      assert.equal(await page.getByRole('figure').count(), 1);
      const events = page.getByRole('list', { name: 'Quality events' }).getByRole('listitem');
      assert.match((await events.allInnerTexts()).join(), /1\.4/);
      // Both queries have a line: the tooltip at the right edge tells both values.
      const box = await chart.locator('.u-over').boundingBox();
      await page.mouse.move(box.x + box.width - 2, box.y + 40);
      const tip = page.locator('.tip');
      await tip.waitFor();
      const told = await tip.innerText();
      assert.match(told, /0\.81|81 %/);
      assert.match(told, /0\.755|75\.5/);
      await axe(page, 'explore, synced');
      await page.goto(`${server.url + BOTH}&from=now-30d`);
      await page.locator('.u-over').waitFor();
      const marked = source.all.flatMap((one) => one.events).length;
      await page.waitForFunction((wanted) => document.querySelectorAll('.events li').length === wanted, marked);
      await page.shut();
    });
  } finally {
    await server.stop();
    source.stop();
  }
}
