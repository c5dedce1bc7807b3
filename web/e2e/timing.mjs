// How long a person waits, in a browser, against the real server. `npm run timing`, after building both.
//
// Machines that run tests are shared. So "waiting", on the wall clock, is the best of some rounds, and its limits are twice
// the budget of the design. Work ("work", "script", "layout") is the processor time of the page's own thread, which waiting
// for a processor hardly adds to: the median of the rounds, with limits at most 2.5 times what two slow shared cores took, so
// that three times as much is noticed. A machine that is slower than those, by a piece of plain script timed in the same
// browser, is given that much more.
import { push, startBrowser, startServer } from '../scripts/browser.mjs';
import { demo, write } from '../scripts/history.mjs';

const ROUNDS = 7;
/** Milliseconds that `calibrate` takes at best on the machine whose figures the limits come from. */
const CALIBRATED_MS = 30;
const LINES = 50;
const POINTS = 2_000;
const GROUPS = 500;
const CHANGED = 50;

const results = [];
const best = (values) => Math.min(...values);
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
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

function report(what, values, { budget, limit }) {
  results.push({ what, value: what.endsWith('waiting') ? best(values) : median(values), values, budget, limit });
}

async function fresh(browser, url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.addInitScript(watch);
  const session = await context.newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  /** Processor time so far, in milliseconds: all of it, that of scripts, that of styles and layout. */
  page.work = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const of = (name) => 1000 * (metrics.find((metric) => metric.name === name)?.value ?? 0);
    return {
      all: of('TaskDuration'),
      script: of('ScriptDuration'),
      layout: of('LayoutDuration') + of('RecalcStyleDuration'),
    };
  };
  page.shut = () => context.close();
  await page.goto(url);
  return page;
}

/** From the click on a link to the first paint and to the first line of a chart, and the work of it: nothing cached. */
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
    works.push((await page.work()).all);
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
      const before = await page.work();
      await work();
      return (await page.work()).script - before.script;
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
    // The line that stood out is drawn like the others again.
    await sleep(250);
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
  await page.getByText(`${GROUPS} of ${GROUPS}`).waitFor();
  await page.locator('tr[aria-rowindex]').first().waitFor();
  // What Explore will need is fetched some seconds after a page is opened.
  await sleep(4_000);
  const scripts = [];
  const layouts = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = await page.work();
    // Pushed last, so they are those that are seen.
    await change(GROUPS - CHANGED, CHANGED, round + 2);
    // The server says by itself that something came; the page reads, and shows it.
    await sleep(1_500);
    const after = await page.work();
    scripts.push(after.script - before.script);
    layouts.push(after.layout - before.layout);
  }
  await page.shut();
  return { scripts, layouts };
}

const browser = await startBrowser();
const server = await startServer('hosts: {enabled: false}\n');
try {
  await write(server.url, demo(1));
  const blank = await fresh(browser, server.url);
  const [walls, works] = [[], []];
  for (let round = 0; round < 9; round += 1) {
    const before = await blank.work();
    walls.push(await blank.evaluate(calibrate));
    works.push((await blank.work()).all - before.all);
  }
  await blank.shut();
  const slower = { waiting: Math.max(1, best(walls) / CALIBRATED_MS), work: Math.max(1, best(works) / CALIBRATED_MS) };
  console.log(
    `plain script: ${best(walls).toFixed(0)} ms waited, ${best(works).toFixed(0)} ms worked; limits times ${slower.waiting.toFixed(2)} and ${slower.work.toFixed(2)}`,
  );

  const home = await opening(browser, server.url);
  report('home: first paint, waiting', home.paints, { budget: 200, limit: 400 });
  report('home: first chart, waiting', home.charts, { budget: 350, limit: 700 });
  report('home: first chart, work', home.works, { limit: 500 });
  const explore = await opening(browser, `${server.url}explore?q=up`);
  report('Explore: first chart, waiting', explore.charts, { budget: 350, limit: 700 });
  report('Explore: first chart, work', explore.works, { limit: 450 });
  const large = await largeChart(browser, server);
  const size = `${LINES} x ${POINTS.toLocaleString('en')}`;
  report(`${size}: first paint, waiting`, large.first, { budget: 150, limit: 300 });
  report(`${size}: drawn again, script`, large.redraws, { budget: 16, limit: 36 });
  // With the question, and 2 MB of answer to read.
  report(`${size}: zoom, script`, large.zooms, { limit: 95 });
  report(`${size}: pointer moved, script`, large.hovers, { budget: 2, limit: 4 });
  const live = await liveTable(browser, server);
  // With the question for what changed, and its answer to read.
  report(`${GROUPS} rows, ${CHANGED} changed: script`, live.scripts, { budget: 2, limit: 6 });
  report(`${GROUPS} rows, ${CHANGED} changed: layout`, live.layouts, { limit: 10 });

  for (const one of results) {
    const limit = one.limit * (one.what.endsWith('waiting') ? slower.waiting : slower.work);
    one.over = !(one.value <= limit);
    const all = [...one.values].sort((a, b) => a - b).map((value) => value.toFixed(1));
    console.log(
      `${one.what.padEnd(38)} ${one.value.toFixed(1).padStart(7)} ms of ${limit.toFixed(0)}${one.budget ? ` (budget ${one.budget})` : ''}${one.over ? '  TOO SLOW' : ''}  [${all.join(' ')}]`,
    );
  }
} finally {
  await browser.stop();
  await server.stop();
}
process.exitCode = results.length > 0 && results.every((one) => !one.over) ? 0 : 1;
