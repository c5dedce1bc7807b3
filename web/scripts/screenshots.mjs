// Pictures of the pages, of made-up data, into docs/screenshots. With a folder as argument: all pages, both themes, there. Without, one theme each, by turns.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { push, startBrowser, startServer } from './browser.mjs';
import { demo, PUSHES, write } from './history.mjs';
import { answer, CONFIG, quality } from './quality.mjs';

const all = process.argv[2];
const folder = all ?? new URL('../../docs/screenshots/', import.meta.url).pathname;
mkdirSync(folder, { recursive: true });

const NARROW = { width: 320, height: 720 };
const QUERIES = new URLSearchParams([
  ['q', 'sum by (path) (rate(http_requests_total{job="api"}[5m]))'],
  ['from', 'now-3h'],
  ['to', 'now'],
]);
const PAGES = {
  home: '',
  explore: `explore?${QUERIES}`,
  push: 'push',
  status: 'status?tab=storage',
  ...(all
    ? {
        targets: 'targets',
        metrics: 'explore/metrics?name=http_requests_total',
        cardinality: 'explore/metrics?tab=cardinality',
        table: `explore?${QUERIES}&view=table`,
        raw: `explore?${QUERIES}&view=raw`,
        error: 'explore?q=rate(http_requests_total[5m)',
        config: 'status?tab=config',
        storage: 'status?tab=storage',
        jobs: 'status?tab=jobs',
        unknown: 'nothing',
        alerts: 'alerts',
      }
    : {}),
};

const PROJECT = 'quality/example_storefront';
/** Those of another server, whose data are of weeks and not of hours. */
const QUALITY_PAGES = {
  quality: 'quality',
  project: PROJECT,
  ...(all
    ? {
        ratings: `${PROJECT}?metric=ratings&branch=release/2.4`,
        branches: 'quality?branch=*&sort=-bugs',
        events: 'explore?q=sonar_coverage_ratio{branch="main"}&from=now-30d&to=now&events=quality&branch=main',
        stranger: 'quality/nobody.knows:it',
      }
    : {}),
};

const server = await startServer('hosts:\n  enabled: false\n');
const reviewed = await startServer(CONFIG);
const sonar = quality();
const browser = await startBrowser();
try {
  const shoot = async (name, theme, path, { size = { width: 1280, height: 800 }, from = server, known } = {}) => {
    const context = await browser.newContext({ viewport: size, colorScheme: theme, reducedMotion: 'reduce' });
    if (known) await answer(context, known);
    const page = await context.newPage();
    page.on('console', (message) => message.type() === 'error' && console.log(name, message.text()));
    page.on('pageerror', (error) => console.log(name, error.stack));
    await page.goto(from.url + path);
    await page.waitForTimeout(1_500);
    if (name === 'home') await page.waitForTimeout(5_000);
    if (name === 'push') await page.locator('.fold').nth(1).click();
    await page.waitForTimeout(200);
    await page.screenshot({ path: join(folder, `${name}-${theme}.png`) });
    await context.close();
  };
  if (all) for (const theme of ['light', 'dark']) await shoot('empty', theme, '');
  await write(server.url, demo());
  for (const [path, body] of PUSHES) await push(server.url, path, body);
  for (const [place, [name, path]] of Object.entries(PAGES).entries())
    for (const theme of all ? ['light', 'dark'] : [['light', 'dark'][place % 2]]) await shoot(name, theme, path);
  if (all)
    for (const name of ['home', 'explore', 'push', 'metrics', 'status', 'targets', 'alerts'])
      await shoot(`${name}-narrow`, 'light', PAGES[name], { size: NARROW }).catch((error) =>
        console.log(error.message),
      );
  const here = { from: reviewed, known: sonar };
  const nothing = { status: { is_configured: false }, projects: [], events: [] };
  if (all)
    for (const theme of ['light', 'dark'])
      await shoot('quality-empty', theme, 'quality', { from: reviewed, known: nothing });
  await write(reviewed.url, sonar.all);
  for (const [place, [name, path]] of Object.entries(QUALITY_PAGES).entries())
    for (const theme of all ? ['light', 'dark'] : [['light', 'dark'][place % 2]]) await shoot(name, theme, path, here);
  if (all)
    for (const [name, path] of Object.entries(QUALITY_PAGES))
      await shoot(`${name}-narrow`, 'light', path, { ...here, size: NARROW });
} finally {
  await browser.stop();
  await server.stop();
  await reviewed.stop();
}
