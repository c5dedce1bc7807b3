// What all tests in the browser need: a page that complains, the rules of accessibility, and the list of what failed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { startBrowser } from '../scripts/browser.mjs';
import { answer } from '../scripts/quality.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const browser = await startBrowser();
const failures = [];
let passed = 0;

export async function test(name, body) {
  const began = performance.now();
  try {
    await body();
    passed += 1;
    console.log(`ok   ${name} (${Math.round(performance.now() - began)} ms)`);
  } catch (error) {
    failures.push(name);
    console.log(`FAIL ${name}\n${error.stack}`);
  }
}

/**
 * A page whose every complaint and every request elsewhere is a failure. `sonar` is what the sync is said to know;
 * without it the server answers for itself.
 */
export async function open(url, { sonar, ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    reducedMotion: 'reduce',
    ...options,
  });
  if (sonar) await answer(context, sonar);
  const page = await context.newPage();
  page.problems = [];
  const origin = new URL(url).origin;
  // A refused query is what some tests ask for; everything else has to be silent.
  page.on(
    'console',
    (message) =>
      ['error', 'warning'].includes(message.type()) &&
      !/status of 40[01]/.test(message.text()) &&
      // Asked for on purpose.
      !message.location().url.endsWith('/nothing-here') &&
      page.problems.push(message.text()),
  );
  page.on('pageerror', (error) => page.problems.push(error.stack));
  page.on(
    'request',
    (asked) =>
      asked.url().startsWith(origin) || asked.url().startsWith('data:') || page.problems.push(`asked ${asked.url()}`),
  );
  page.shut = async () => {
    await context.close();
    assert.deepEqual(page.problems, []);
  };
  await page.goto(url);
  await page.locator('main h1').waitFor();
  return page;
}

export async function settle(page) {
  await page.locator('main h1').waitFor();
  await page.waitForLoadState('load');
  await page.waitForTimeout(350);
}

/** The page's policy forbids scripts from outside; the test's own goes in by the debugger. */
export async function axe(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const found = violations.map(
    (one) =>
      `${where}: ${one.id}: ${one.nodes
        .slice(0, 3)
        .map((node) => `${node.target.join(' ')} ${node.failureSummary}`)
        .join('; ')}`,
  );
  assert.deepEqual(found, []);
}

/** The tabulator gets to everything that can be clicked. */
export async function reach(page, where) {
  await page.waitForTimeout(600);
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, input, select, [tabindex="0"]')].filter(
      (one) => one.checkVisibility() && !one.disabled,
    );
    all.forEach((one, index) => (one.dataset.reach = String(index)));
    return all.length;
  });
  const reached = new Set();
  for (let steps = 0; steps < wanted * 2 + 20 && reached.size < wanted; steps += 1) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => document.activeElement?.dataset?.reach);
    if (at !== undefined) reached.add(at);
  }
  const missed = await page.evaluate(
    (seen) =>
      [...document.querySelectorAll('[data-reach]')]
        .filter((one) => !seen.includes(one.dataset.reach))
        .map((one) => one.outerHTML.slice(0, 120)),
    [...reached],
  );
  assert.deepEqual(missed, [], where);
}

/** Says how it went, to people and to the shell. */
export function report() {
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}
