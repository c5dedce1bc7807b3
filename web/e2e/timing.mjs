// How long a person waits, in a browser, against the real server. `npm run timing`, after building both.
//
// Each figure is the best of some rounds: what others do on a shared machine only ever adds to it. A limit is the budget
// of the design where the page stays that far below it that a threefold slowdown would show, and tighter where not: at
// most 2.5 times what the page took when it was measured on the slowest machine we know, two shared cores. A machine
// that is slower than that one, by a piece of plain script timed in the same browser, is given that much more.
import { push, startBrowser, startServer } from '../scripts/browser.mjs';
import { demo, write } from '../scripts/history.mjs';

const ROUNDS = 7;
/** Milliseconds that `calibrate` takes on the machine whose figures the limits come from. */
const CALIBRATED_MS = 40;
const LINES = 50;
const POINTS = 2_000;
const GROUPS = 500;
const CHANGED = 50;

const results = [];
const best = (values) => Math.min(...values);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Notes when lines are drawn: axes are strokes without a path, lines have one. */
function watch() {
  globalThis.strokes = [];
  const { stroke } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.stroke = function (...path) {
    if (path.length > 0) globalThis.strokes.push(performance.now());
    return stroke.apply(this, path);
  };
}

/** A piece of script like that of the page: numbers, texts, objects. */
function calibrate() {
  const began = performance.now();
  const rows = Array.from({ length: 60_000 }, (_, index) => ({
    name: `series ${index % 977}`,
    value: (index * 7_919) % 10_007,
  }));
  const read = JSON.parse(JSON.stringify(rows));
  read.sort((a, b) => a.value - b.value || (a.name < b.name ? -1 : 1));
  return performance.now() - began + (read.length - rows.length);
}

function report(what, values, { budget, limit, unit = 'ms' }) {
  results.push({ what, value: best(values), values, budget, limit, unit });
}

async function fresh(browser, url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.addInitScript(watch);
  const session = await context.newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  /** Milliseconds spent so far in scripts, styles and layout. */
  page.spent = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const of = (name) => metrics.find((metric) => metric.name === name)?.value ?? 0;
    if (process.env.PARTS)
      console.log(
        metrics
          .filter((m) => /Duration/.test(m.name))
          .map((m) => `${m.name} ${(m.value * 1000).toFixed(1)}`)
          .join(' '),
      );
    return 1000 * (of('ScriptDuration') + of('LayoutDuration') + of('RecalcStyleDuration'));
  };
  page.busy = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return 1000 * (metrics.find((metric) => metric.name === 'TaskDuration')?.value ?? 0);
  };
  page.shut = () => context.close();
  await page.goto(url);
  return page;
}

/** From the click on a link to the first paint, and to the first line of a chart: with nothing cached. */
async function opening(browser, url) {
  const paints = [];
  const charts = [];
  const works = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const page = await fresh(browser, url);
    await page.waitForFunction(() => globalThis.strokes.length > 0);
    paints.push(
      await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? Infinity),
    );
    charts.push(await page.evaluate(() => globalThis.strokes[0]));
    works.push(await page.busy());
    await page.shut();
  }
  return { paints, charts, works };
}

async function largeChart(browser, server) {
  const end = Math.floor(Date.now() / 15_000) * 15_000;
  const times = Array.from({ length: POINTS }, (_, at) => end - (POINTS - 1 - at) * 15_000);
  const wave = (line) => times.map((ms, at) => [ms, line + Math.sin(at / 50)]);
  await write(
    server.url,
    Array.from({ length: LINES }, (_, line) => [{ __name__: 'many', job: 'many', line: String(line) }, wave(line)]),
  );
  const url = `${server.url}explore?q=many&from=${times[0]}&to=${end}&step=15s`;
  const [first, redraws, zooms, hovers] = [[], [], [], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    const page = await fresh(browser, url);
    const drawn = (before) =>
      page.waitForFunction(([count, from]) => globalThis.strokes.length >= from + count, [LINES, before]);
    const strokes = () => page.evaluate(() => globalThis.strokes.length);
    const during = async (work) => {
      const before = await page.spent();
      await work();
      return (await page.spent()) - before;
    };
    await drawn(0);
    first.push(
      await page.evaluate((count) => {
        const asked = performance.getEntriesByType('resource').findLast((one) => one.name.includes('query_range'));
        return globalThis.strokes[count - 1] - asked.responseEnd;
      }, LINES),
    );
    // What else the page has to do after it was opened is not what is measured.
    await sleep(400);
    const box = await page.locator('.u-over').boundingBox();
    const moves = 40;
    await page.mouse.move(box.x + 10, box.y + 100);
    hovers.push(
      (await during(async () => {
        for (let step = 0; step < moves; step += 1)
          await page.mouse.move(box.x + 20 + step * 15, box.y + 120 + (step % 3));
        await sleep(100);
      })) / moves,
    );
    await page.mouse.move(5, 5);
    await sleep(50);
    let before = await strokes();
    redraws.push(
      await during(async () => {
        await page.setViewportSize({ width: 1240, height: 800 });
        await drawn(before);
      }),
    );
    before = await strokes();
    zooms.push(
      await during(async () => {
        await page.mouse.move(box.x + 100, box.y + 100);
        await page.mouse.down();
        await page.mouse.move(box.x + box.width * 0.8, box.y + 110, { steps: 2 });
        await page.mouse.up();
        await page.waitForURL(/from=\d{13}&to=\d{13}/);
        await drawn(before);
        await sleep(50);
      }),
    );
    await page.shut();
  }
  return { first, redraws, zooms, hovers };
}

/** What it takes to show a change among many rows. */
async function liveTable(browser, server) {
  const group = (index) => `job/many/instance/${index}`;
  const change = async (from, count, value) => {
    for (let at = from; at < from + count; at += 25) {
      await Promise.all(
        Array.from({ length: Math.min(25, from + count - at) }, (_, more) =>
          push(server.url, group(at + more), `one ${value}\n`),
        ),
      );
    }
  };
  await change(0, GROUPS, 1);
  const page = await fresh(browser, `${server.url}push?q=job%3Dmany`);
  await page
    .locator('tbody tr')
    .nth(GROUPS - 1)
    .waitFor();
  await sleep(500);
  const ticks = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await change(round * CHANGED, CHANGED, round + 2);
    const answered = page.waitForResponse((response) => response.url().endsWith('/api/v1/metrics'));
    const before = await page.spent();
    await page.keyboard.press('r');
    await (await answered).finished();
    await sleep(150);
    ticks.push((await page.spent()) - before);
  }
  await page.shut();
  return ticks;
}

const browser = await startBrowser();
const server = await startServer('hosts: {enabled: false}\n');
try {
  await write(server.url, demo(1));
  const blank = await fresh(browser, server.url);
  const calibration = [];
  for (let round = 0; round < 9; round += 1) calibration.push(await blank.evaluate(calibrate));
  await blank.shut();
  const slower = Math.max(1, best(calibration) / CALIBRATED_MS);
  console.log(`plain script: ${best(calibration).toFixed(0)} ms; limits times ${slower.toFixed(2)}`);

  const home = await opening(browser, server.url);
  report('home: first paint', home.paints, { budget: 200, limit: 200 });
  report('home: first chart', home.charts, { budget: 350, limit: 350 });
  report('home: work', home.works, { limit: 350 });
  const explore = await opening(browser, `${server.url}explore?q=up`);
  report('Explore: first chart', explore.charts, { budget: 350, limit: 350 });
  report('Explore: work', explore.works, { limit: 350 });
  const large = await largeChart(browser, server);
  const size = `${LINES} x ${POINTS.toLocaleString('en')}`;
  report(`${size}: answer to picture`, large.first, { budget: 150, limit: 150 });
  report(`${size}: drawn again`, large.redraws, { budget: 16, limit: 16 });
  report(`${size}: zoom, asked anew`, large.zooms, { limit: 150 });
  report(`${size}: pointer moved`, large.hovers, { budget: 2, limit: 2 });
  report(`${GROUPS} rows, ${CHANGED} changed`, await liveTable(browser, server), { limit: 50 });

  for (const one of results) {
    const limit = one.limit * slower;
    one.over = !(one.value <= limit);
    const all = [...one.values].sort((a, b) => a - b).map((value) => value.toFixed(1));
    console.log(
      `${one.what.padEnd(28)} ${one.value.toFixed(1).padStart(7)} ms of ${limit.toFixed(0)}${one.budget ? ` (budget ${one.budget})` : ''}${one.over ? '  TOO SLOW' : ''}  [${all.join(' ')}]`,
    );
  }
} finally {
  await browser.stop();
  await server.stop();
}
process.exitCode = results.length > 0 && results.every((one) => !one.over) ? 0 : 1;
