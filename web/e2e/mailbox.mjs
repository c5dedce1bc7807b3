// The page of the mailbox: what waits, what nobody could handle, and what is done about it.
import assert from 'node:assert/strict';
import { startServer } from '../scripts/browser.mjs';
import { axe, open, reach, settle, test } from './harness.mjs';

const HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>';

export async function testMailbox() {
  const server = await startServer('hosts: {enabled: false}\n');
  const overview = async () => (await fetch(`${server.url}api/v1/mailbox`).then((answer) => answer.json())).data;
  const send = async (kind, payload, more = {}) => {
    const body = JSON.stringify({ kind, payload, ...more });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${server.url}api/v1/mailbox/send`, { method: 'POST', body, headers });
    assert.equal(answer.status, 200, await answer.text());
  };
  /** Until so many letters are dead. */
  const dead = async (count) => {
    for (let tries = 0; tries < 100 && (await overview()).queue.dead !== count; tries += 1)
      await new Promise((done) => setTimeout(done, 50));
    assert.equal((await overview()).queue.dead, count);
  };
  const rows = (page) => page.getByRole('region', { name: 'Table of dead letters' }).locator('tbody tr:not(.inner)');
  try {
    await test('an empty mailbox says how a message gets in, and shows it when it is in', async () => {
      const page = await open(server.url, { permissions: ['clipboard-read', 'clipboard-write'] });
      await page.keyboard.type('gb');
      await page.waitForURL(/mailbox$/);
      await page.getByText('No message came yet.').waitFor();
      await axe(page, 'empty mailbox');
      await page.getByRole('button', { name: 'Copy' }).click();
      const command = await page.evaluate(() => navigator.clipboard.readText());
      const [, body, url] = /--data '(.*)' (\S+)$/.exec(command);
      assert.equal(url, `${server.url}api/v1/mailbox/send`);
      const { kind, payload } = JSON.parse(body);
      await send(kind, payload, { sender: 'a person' });
      await page.getByText('No dead letters.').waitFor();
      const recent = page.getByRole('region', { name: 'Table of the last messages' });
      assert.match(await recent.innerText(), /handled\s+METRICS_UPDATE[\s\S]*a person/);
      await page
        .getByText(/^0(\.\d+)?\/s$|^\d+(\.\d+)?\/s$/)
        .first()
        .waitFor();
      await page.shut();
    });

    await test('dead letters have their reason and their content, which is text whatever it holds', async () => {
      await send(HOSTILE, { text: HOSTILE }, { sender: HOSTILE, id: HOSTILE });
      await send('METRICS_UPDATE', { metrics: 'broken{ 1\n' }, { sender: 'builds', id: 'build-7' });
      await dead(2);
      for (const theme of ['light', 'dark']) {
        const page = await open(`${server.url}mailbox`, { colorScheme: theme });
        await rows(page).nth(1).waitFor();
        assert.equal(await page.locator('.strip > div', { hasText: 'Dead letters' }).locator('.now').innerText(), '2');
        await page
          .locator('tr', { hasText: 'builds' })
          .getByText(/parsing error in line 1/)
          .first()
          .waitFor();
        await page.getByRole('button', { name: 'METRICS_UPDATE', exact: true }).click();
        await page.waitForURL(/letter=\d+/);
        await page.getByRole('region', { name: 'Content of METRICS_UPDATE build-7' }).waitFor();
        await page.reload();
        const content = page.getByRole('region', { name: 'Content of METRICS_UPDATE build-7' });
        await content.getByText('"metrics": "broken{ 1\\n"').waitFor();
        await axe(page, `mailbox, ${theme}`);
        await page.locator('tr', { hasText: 'onerror' }).first().getByRole('button').first().click();
        await page.locator('pre', { hasText: 'window.hurt' }).waitFor();
        assert.equal(await page.evaluate(() => globalThis.hurt), undefined);
        await page.shut();
      }
    });

    await test('the mailbox fits 320 pixels, and the keyboard reaches all of it', async () => {
      const narrow = await open(`${server.url}mailbox`, { viewport: { width: 320, height: 640 } });
      await rows(narrow).first().waitFor();
      assert.ok((await narrow.evaluate(() => document.documentElement.scrollWidth)) <= 320);
      await narrow.shut();
      const page = await open(`${server.url}mailbox`);
      await rows(page).first().waitFor();
      await settle(page);
      await reach(page, 'mailbox');
      await page.shut();
    });

    await test('a letter is replayed, and dies of the same cause again', async () => {
      const page = await open(`${server.url}mailbox`);
      const before = (await overview()).counts.dead;
      await page.getByRole('button', { name: 'Replay METRICS_UPDATE build-7' }).click();
      await page.getByText('1 dead letter put back').waitFor();
      for (let tries = 0; tries < 100 && (await overview()).counts.dead === before; tries += 1)
        await page.waitForTimeout(50);
      assert.equal((await overview()).counts.dead, before + 1);
      await dead(2);
      await page.shut();
    });

    await test('letters are dropped after a question, one and all, and a refusal is told', async () => {
      const page = await open(`${server.url}mailbox`);
      const dialog = page.getByRole('dialog');
      const drop = page.getByRole('button', { name: 'Drop METRICS_UPDATE build-7' });
      await drop.click();
      await dialog.getByText('Drop this dead letter?').waitFor();
      await dialog.getByText('build-7').waitFor();
      await axe(page, 'drop');
      await dialog.getByRole('button', { name: 'Keep' }).click();
      await dialog.waitFor({ state: 'hidden' });
      await dead(2);
      const refuse = (route) =>
        route.fulfill({
          status: 400,
          contentType: 'application/json',
          body: '{"status":"error","error":"the disk is full"}',
        });
      await page.route('**/api/v1/mailbox/drop', refuse);
      await drop.click();
      await dialog.getByRole('button', { name: 'Drop' }).click();
      await page.getByText('the disk is full').waitFor();
      await page.unroute('**/api/v1/mailbox/drop', refuse);
      await drop.click();
      await page.keyboard.press('Escape');
      await dead(2);
      await drop.click();
      await dialog.getByRole('button', { name: 'Drop' }).click();
      await page.getByText('1 dead letter dropped.').waitFor();
      await dead(1);
      for (let index = 0; index < 60; index += 1) await send('NOBODY', { index });
      await dead(61);
      await page.keyboard.press('r');
      await page.getByText('25 of 61 shown').waitFor();
      assert.equal(await rows(page).count(), 25);
      await page.getByRole('button', { name: 'Show 25 more' }).click();
      assert.equal(await rows(page).count(), 50);
      await page.getByRole('button', { name: 'Drop all' }).click();
      await dialog.getByText('Drop 61 dead letters?').waitFor();
      await dialog.getByRole('button', { name: 'Drop' }).click();
      await page.getByText('61 dead letters dropped.').waitFor();
      await page.getByText('No dead letters.').waitFor();
      await page.shut();
    });
  } finally {
    await server.stop();
  }
}
