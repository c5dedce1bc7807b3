// The long list of push groups: what is drawn of it, and what a push changes.
import assert from 'node:assert/strict';
import { push, startServer } from '../scripts/browser.mjs';
import { axe, open, test } from './harness.mjs';

const GROUPS = 500;
/** Rows of a window of 800 pixels, and those around it. */
const DRAWN_MAX = 60;

export async function testPushed() {
  const server = await startServer('hosts: {enabled: false}\n');
  const rows = (page) => page.locator('tr[aria-rowindex]').count();
  const change = (index, value) => push(server.url, `job/many/instance/${index}`, `one ${value}\n`);
  /** What changed in the table since the last time. */
  const changes = (page) => page.evaluate(() => globalThis.changes.splice(0).length);
  try {
    for (let from = 0; from < GROUPS; from += 25)
      await Promise.all(Array.from({ length: 25 }, (_, more) => change(from + more, 1)));

    await test('of many push groups few rows are drawn, wherever one looks', async () => {
      const page = await open(`${server.url}push`);
      await page.getByText('500 groups').waitFor();
      const row = page.locator('tr[aria-rowindex]');
      await row.first().waitFor();
      assert.ok((await rows(page)) <= DRAWN_MAX, `${await rows(page)} rows`);
      assert.equal(await page.getByRole('table').getAttribute('aria-rowcount'), String(GROUPS + 1));
      const whole = await page.evaluate(() => document.documentElement.scrollHeight);
      for (const place of [0.5, 1]) {
        await page.evaluate((to) => scrollTo(0, to), whole * place);
        await page.waitForFunction(
          (wanted) => Number(document.querySelector('tr[aria-rowindex]').ariaRowIndex) > wanted,
          GROUPS * place - DRAWN_MAX,
        );
        assert.ok((await rows(page)) <= DRAWN_MAX, `${await rows(page)} rows at ${place}`);
      }
      assert.equal(await row.last().getAttribute('aria-rowindex'), String(GROUPS + 1));
      await axe(page, 'many groups');
      await page.getByRole('searchbox').fill('instance=250');
      await page.getByText('1 of 500').waitFor();
      await page.locator('tr[aria-rowindex="2"]').waitFor();
      assert.equal(await rows(page), 1);
      await page.shut();
    });

    await test('an open group keeps its room when it is scrolled away', async () => {
      const page = await open(`${server.url}push`);
      await page.locator('.fold').nth(1).click();
      const inner = page.locator('tr.inner');
      await inner.waitFor();
      await page.evaluate(() => scrollTo(0, 6_000));
      await inner.waitFor({ state: 'detached' });
      await page.evaluate(() => scrollTo(0, 0));
      await inner.waitFor();
      await page.shut();
    });

    await test('a push changes the row of its group and no other, and moves none', async () => {
      const page = await open(`${server.url}push`);
      const labels = page.locator('tr[aria-rowindex] .chips');
      await labels.first().waitFor();
      // After what comes once, some seconds after a page is opened.
      await page.waitForTimeout(4_000);
      const before = await labels.allInnerTexts();
      await page.evaluate(() => {
        globalThis.changes = [];
        const all = { subtree: true, childList: true, characterData: true, attributes: true };
        new MutationObserver((list) => globalThis.changes.push(...list)).observe(document.querySelector('table'), all);
      });
      const far = Number(/instance=(\d+)/.exec(before.at(-1))[1]) - 100;
      const answered = () => page.waitForResponse((answer) => answer.url().includes('api/v1/metrics?since='));
      // With the first one come those that were pushed just before it.
      await Promise.all([answered(), change(far, 2)]);
      const [answer] = await Promise.all([answered(), change(far, 3)]);
      const { data } = await answer.json();
      assert.ok(data.length < GROUPS / 5, `${data.length} groups were sent for one`);
      await page.waitForTimeout(300);
      // Ages grow by themselves; a row that is not drawn changes nothing more.
      const idle = await changes(page);
      assert.ok(idle <= before.length, `${idle} changes`);
      const near = Number(/instance=(\d+)/.exec(before[3])[1]);
      await Promise.all([answered(), change(near, 2)]);
      await page.waitForFunction(() => /\bnow\b/.test(document.querySelectorAll('tr[aria-rowindex]')[3].innerText));
      const made = await changes(page);
      assert.ok(made >= 1 && made <= before.length + 4, `${made} changes`);
      assert.deepEqual(await labels.allInnerTexts(), before);
      await page.keyboard.press('r');
      await page.waitForFunction(
        (first) => document.querySelector('tr[aria-rowindex] .chips').innerText.includes(`instance=${first}`),
        near,
      );
      await page.shut();
    });

    await test('a new group comes first, and one that is gone goes', async () => {
      const page = await open(`${server.url}push`);
      await page.getByText('500 groups').waitFor();
      await push(server.url, 'job/new', 'one 1\n');
      await page.getByText('501 groups').waitFor();
      assert.match(await page.locator('tr[aria-rowindex="2"]').innerText(), /^\s*new/);
      await fetch(`${server.url}metrics/job/new`, { method: 'DELETE' });
      await page.getByText('500 groups').waitFor();
      await page.shut();
    });
  } finally {
    await server.stop();
  }
}
