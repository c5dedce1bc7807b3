// The page as a person meets it, in a browser, against the real server. `npm run e2e`, after building both.
import { createServer, request } from 'node:http';
import assert from 'node:assert/strict';
import { push, startServer } from '../scripts/browser.mjs';
import { demo, PUSHES, write } from '../scripts/history.mjs';
import { axe, browser, open, reach, report, settle, test } from './harness.mjs';
import { testChain } from './chain.mjs';
import { testMailbox } from './mailbox.mjs';
import { testPushed } from './pushed.mjs';
import { testQuality } from './quality.mjs';

const HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>';
const QUERY = 'explore?q=sum by (path) (rate(http_requests_total[5m]))&q=up';
const PAGES = [
  '',
  QUERY,
  `${QUERY}&view=table`,
  `${QUERY}&view=raw`,
  'explore',
  'explore/metrics',
  'explore/metrics?name=http_requests_total',
  'explore/metrics?tab=cardinality',
  'targets',
  'push',
  'mailbox',
  'quality',
  'status',
  'status?tab=storage',
  'status?tab=config',
  'status?tab=flags',
  'status?tab=jobs',
  'alerts',
  'nothing-here',
];

/** A proxy for `path` that tells the server another host, as most do unless told otherwise. */
async function startProxy(path, target, strips) {
  const proxy = createServer((asked, answer) => {
    if (!asked.url.startsWith(`${path}/`)) return answer.writeHead(404).end();
    const rest = strips ? asked.url.slice(path.length) : asked.url;
    const headers = { ...asked.headers, host: new URL(target()).host };
    const on = request(new URL(rest, target()), { method: asked.method, headers }, (from) => {
      answer.writeHead(from.statusCode, from.headers);
      from.pipe(answer);
    });
    on.on('error', () => answer.destroy());
    answer.on('close', () => on.destroy());
    return asked.pipe(on);
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  const stop = () => {
    proxy.closeAllConnections();
    proxy.close();
  };
  return { url: `http://127.0.0.1:${proxy.address().port}${path}/`, stop };
}

/** The first minute, every page, a push and a deletion, all below a path. */
async function below(strips) {
  const path = '/deep/obs';
  let inner;
  const proxy = await startProxy(path, () => inner.url, strips);
  const prefix = strips ? '' : path;
  inner = await startServer(
    'hosts: {enabled: false}\n',
    [`--web.external-url=${proxy.url}`, `--web.route-prefix=${prefix}/`],
    prefix,
  );
  try {
    const page = await open(proxy.url, { permissions: ['clipboard-read', 'clipboard-write'] });
    await page.getByText('Waiting for the first metric').waitFor();
    await page.getByRole('button', { name: 'Copy' }).first().click();
    const command = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(command, `echo 'demo_jobs_done 42' | curl --data-binary @- ${proxy.url}metrics/job/demo`);
    await push(proxy.url, 'job/demo', 'demo_jobs_done 42\n');
    await page.getByText('It arrived').waitFor({ timeout: 3_000 });
    await write(proxy.url, demo(1));
    for (const one of PAGES) {
      await page.goto(proxy.url + one);
      await settle(page);
      assert.deepEqual(page.problems, [], one);
    }
    await page.goto(`${proxy.url}explore/metrics?name=up`);
    await page.getByRole('heading', { name: 'up', exact: true }).waitFor();
    await page.getByRole('link', { name: 'Explore', exact: true }).click();
    await page.waitForURL(`${proxy.url}explore`);
    await page.reload();
    await page.locator('.cm-content').waitFor();
    await page.goto(`${proxy.url}graph?g0.expr=up&g0.tab=1`);
    await page.waitForURL(`${proxy.url}explore?q=up&view=table`);
    await page.getByRole('link', { name: 'Push groups', exact: true }).click();
    await page.getByRole('button', { name: 'Delete job demo' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
    await page.getByText('1 group deleted.').waitFor();
    // Who comes past the proxy finds the same, and is still told the address that works elsewhere.
    await page.shut();
    const direct = await open(inner.url);
    await direct.getByRole('link', { name: 'Push groups', exact: true }).click();
    await direct.getByText(`${proxy.url}metrics/job/demo`).waitFor();
    await direct.shut();
    if (!strips) {
      const root = await open(new URL('/', inner.url).href.replace(/\/$/, '/'));
      assert.equal(root.url(), inner.url);
      await root.shut();
    }
  } finally {
    proxy.stop();
    await inner.stop();
  }
}

const server = await startServer();
try {
  await test('from nothing to a live line, the moment the first sample lands', async () => {
    const page = await open(server.url, { permissions: ['clipboard-read', 'clipboard-write'] });
    await page.getByText('Waiting for the first metric').waitFor();
    await axe(page, 'empty home');
    const host = new URL(server.url).host;
    await page.getByRole('button', { name: 'Copy' }).first().click();
    const command = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(command, `echo 'demo_jobs_done 42' | curl --data-binary @- http://${host}/metrics/job/demo`);
    assert.equal(await page.getByRole('button', { name: /Cop/ }).count(), 3);
    await page.waitForTimeout(300);
    const began = performance.now();
    await push(server.url, 'job/demo', 'demo_jobs_done 42\n');
    await page.getByText('It arrived').waitFor({ timeout: 3_000 });
    const took = performance.now() - began;
    assert.ok(took < 2_500, `took ${took} ms`);
    await page.getByText('demo_jobs_done{job="demo"}').waitFor();
    await page.waitForFunction(() =>
      document.querySelector('.first .line path.line')?.getAttribute('d')?.startsWith('M'),
    );
    await axe(page, 'first sample');
    await page.getByRole('link', { name: 'Open in Explore' }).click();
    await page.waitForURL(/explore\?q=demo_jobs_done/);
    await page.shut();
  });

  await write(server.url, demo(1));
  for (const [path, body] of PUSHES) await push(server.url, path, body);
  const quoted = HOSTILE.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
  await push(
    server.url,
    `job/hostile/team@base64/${Buffer.from(HOSTILE).toString('base64url')}`,
    `# HELP hostile_value ${HOSTILE}\n# TYPE hostile_value gauge\nhostile_value{a="${quoted}"} 1\n`,
  );

  for (const theme of ['light', 'dark']) {
    await test(`every page is clean and accessible, ${theme}`, async () => {
      const page = await open(server.url, { colorScheme: theme });
      for (const path of PAGES) {
        await page.goto(server.url + path);
        await settle(page);
        await axe(page, `${theme} ${path}`);
        assert.deepEqual(page.problems, [], path);
      }
      await page.shut();
    });
  }

  await test('every page fits 320 pixels', async () => {
    const page = await open(server.url, { viewport: { width: 320, height: 640 } });
    for (const path of PAGES) {
      await page.goto(server.url + path);
      await settle(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= 320, `${path} is ${wide} wide`);
      // Fitting by breaking every word into letters does not count.
      const torn = await page.evaluate(() =>
        [...document.querySelectorAll('td.break, td .chips, dd')]
          .filter((one) => one.checkVisibility() && one.clientWidth < 100)
          .map((one) => one.outerHTML.slice(0, 120)),
      );
      assert.deepEqual(torn, [], path);
    }
    await page.shut();
  });

  await test('the keyboard reaches everything that can be clicked', async () => {
    for (const path of ['', QUERY, 'push', 'mailbox', 'quality', 'explore/metrics', 'status']) {
      const page = await open(server.url + path);
      await settle(page);
      await reach(page, path);
      await page.shut();
    }
  });

  await test('keys go to pages, and stay letters where one writes', async () => {
    const page = await open(server.url);
    await page.keyboard.press('g');
    await page.keyboard.press('p');
    await page.getByRole('searchbox').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('gs?');
    await page.waitForURL(/push\?q=gs/);
    await page.getByText('No group is like that.').waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('Keyboard').waitFor();
    await axe(page, 'help');
    await page.keyboard.press('Escape');
    await page.shut();
  });

  await test('single keys can be switched off, and stay so', async () => {
    const page = await open(server.url);
    await page.keyboard.press('?');
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('checkbox').uncheck();
    await axe(page, 'help, keys off');
    await dialog.getByRole('button', { name: 'Close' }).click();
    for (const reloads of [false, true]) {
      if (reloads) await page.reload();
      await settle(page);
      await page.keyboard.type('gp?/r');
      await page.waitForTimeout(200);
      assert.equal(page.url(), server.url);
      assert.equal(await page.getByRole('dialog').count(), 0);
    }
    await page.getByRole('button', { name: 'Keyboard' }).click();
    await dialog.getByRole('checkbox').check();
    await page.keyboard.press('Escape');
    await page.keyboard.type('gp');
    await page.waitForURL(/push$/);
    await page.shut();
  });

  await test('a query is completed from the server, run by Enter, and stands in the address', async () => {
    const page = await open(`${server.url}explore`);
    const editor = page.locator('.cm-content');
    await editor.waitFor();
    await editor.click();
    await page.keyboard.type('certificate_day');
    await page.locator('.cm-tooltip-autocomplete').getByText('certificate_days_left').first().waitFor();
    await page.waitForTimeout(150);
    await page.keyboard.press('Enter');
    assert.equal(await editor.innerText(), 'certificate_days_left');
    await page.keyboard.press('Enter');
    await page.waitForURL(/q=certificate_days_left/);
    await page.locator('.legend button').first().waitFor();
    assert.equal(await page.locator('.legend button').count(), 2);
    await page.getByRole('button', { name: 'Table' }).click();
    await page.getByRole('cell', { name: '41' }).waitFor();
    await page.goBack();
    await page.locator('.legend button').first().waitFor();
    await page.shut();
  });

  await test('a mistake is shown where it is', async () => {
    const page = await open(`${server.url}explore?q=${encodeURIComponent('sum(rate(up[5m])')}`);
    await page.getByText('unclosed left parenthesis').waitFor();
    await page.locator('.cm-lintRange-error').waitFor();
    await page.getByText(/line 1, column 17/).waitFor();
    await page.shut();
  });

  await test('a part of a chart is zoomed into, and out again, and read by arrow keys', async () => {
    const page = await open(`${server.url}${QUERY}`);
    const chart = page.locator('.canvas').first();
    await page.locator('.u-over').waitFor();
    const box = await page.locator('.u-over').boundingBox();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 100);
    await page.locator('.tip').waitFor();
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 110, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL(/from=\d{13}&to=\d{13}/);
    await page.getByRole('button', { name: 'Zoom out' }).click();
    await page.mouse.move(5, 5);
    await chart.focus();
    await page.keyboard.press('ArrowLeft');
    await page
      .locator('[aria-live]')
      .getByText(/\d\d:\d\d:\d\d: /)
      .first()
      .waitFor({ state: 'attached' });
    await page.getByRole('button', { name: /Time range/ }).click();
    await page.getByLabel('From').fill('nonsense');
    await page.getByText('is no time').waitFor();
    await page.getByLabel('From').fill('now-20m');
    await page.getByRole('button', { name: 'Use this range' }).click();
    await page.waitForURL(/from=now-20m/);
    await page.shut();
  });

  await test('hostile labels and help are text', async () => {
    const page = await open(`${server.url}push?q=hostile`);
    await page.locator('.chip', { hasText: HOSTILE }).first().waitFor();
    await page.locator('.fold').click();
    await page.locator('.family .muted', { hasText: HOSTILE }).waitFor();
    for (const path of [
      'explore?q=hostile_value',
      'explore?q=hostile_value&view=table',
      'explore?q=hostile_value&view=raw',
      'explore/metrics?name=hostile_value',
      'explore/metrics?tab=cardinality',
      `explore?q=${encodeURIComponent(HOSTILE)}`,
    ]) {
      await page.goto(server.url + path);
      await settle(page);
    }
    assert.equal(await page.evaluate(() => globalThis.hurt), undefined);
    await page.shut();
  });

  await test('a group is deleted after saying what goes', async () => {
    const page = await open(`${server.url}push?q=certificates`);
    await page.getByRole('button', { name: 'Delete job certificates' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('1 metric, 2 series').waitFor();
    await axe(page, 'delete');
    await dialog.getByRole('button', { name: 'Keep' }).click();
    await page.getByRole('button', { name: 'Delete job certificates' }).click();
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('1 group deleted.').waitFor();
    const left = await (await fetch(`${server.url}api/v1/metrics`)).json();
    assert.ok(!left.data.some((group) => group.labels.job === 'certificates'));
    // The hostile one as well: its path is made of bytes.
    await page.goto(`${server.url}push?q=hostile`);
    await page.getByRole('button', { name: 'Delete job hostile' }).click();
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('1 group deleted.').waitFor();
    await page.shut();
  });

  await test('addresses of Prometheus lead to their page', async () => {
    for (const [old, now] of [
      ['graph?g0.expr=up&g0.tab=0&g0.range_input=2h', /explore\?q=up&from=now-2h&to=now$/],
      ['query?g0.expr=up&g0.tab=table', /explore\?q=up&view=table$/],
      ['targets', /targets$/],
      ['config', /status\?tab=config$/],
      ['flags', /status\?tab=flags$/],
      ['tsdb-status', /explore\/metrics\?tab=cardinality$/],
      ['rules', /alerts$/],
      ['classic/alerts', /alerts$/],
    ]) {
      const page = await open(server.url + old);
      assert.match(page.url(), now);
      await page.shut();
    }
  });

  for (const strips of [true, false]) {
    await test(`it works below a path of a proxy that ${strips ? 'cuts it off' : 'keeps it'}`, () => below(strips));
  }

  await testMailbox();
  await testPushed();
  await testQuality();
  await testChain();

  const token = 'a-token-for-reading-and-all-0123456789';
  const { createHash } = await import('node:crypto');
  const guarded = await startServer(
    `auth:\n  tokens:\n    - name: person\n      sha256: ${createHash('sha256').update(token).digest('hex')}\n      scopes: [read, push, admin]\n`,
  );
  try {
    await test('where a token is needed it is asked for, kept for the tab, and sent', async () => {
      const page = await open(guarded.url, { permissions: ['clipboard-read', 'clipboard-write'] });
      const dialog = page.getByRole('dialog');
      await dialog.getByText('This server wants a token.').waitFor();
      await axe(page, 'token');
      await dialog.getByLabel('Token').fill('wrong-token-that-nobody-knows-0123456789');
      await dialog.getByRole('button', { name: 'Use token' }).click();
      await dialog.getByText('The server does not know this token.').waitFor();
      await dialog.getByLabel('Token').fill(token);
      await page.keyboard.press('Enter');
      await page.getByText('Waiting for the first metric').waitFor();
      // Copied it is there, on the screen it is not.
      await page.getByText('Bearer ••••••••').waitFor();
      assert.ok(!(await page.locator('main').innerText()).includes(token));
      await page.getByRole('button', { name: 'Copy' }).first().click();
      const command = await page.evaluate(() => navigator.clipboard.readText());
      assert.ok(command.includes(`-H 'Authorization: Bearer ${token}'`), command);
      await push(guarded.url, 'job/demo', 'demo_jobs_done 1\n', { Authorization: `Bearer ${token}` });
      await page.getByText('It arrived').waitFor({ timeout: 3_000 });
      await page.reload();
      await page.getByRole('region', { name: 'Table of jobs' }).waitFor();
      assert.equal(await page.evaluate(() => localStorage.length), 0);
      await page.shut();
    });
  } finally {
    await guarded.stop();
  }
} finally {
  await browser.stop();
  await server.stop();
}
report();
