// A server with an empty store and a browser to look at it, for tests and screenshots.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const ROOT = new URL('../../', import.meta.url).pathname;
const BINARY = process.env.OBSERVATORY_BIN ?? join(ROOT, 'target/release/observatory');
const BROWSER =
  process.env.CHROMIUM_BIN ??
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts a server; `config` is the text of an observatory.yml, `prefix` where its arguments put everything. */
export async function startServer(config, args = [], prefix = '') {
  const folder = mkdtempSync(join(tmpdir(), 'observatory-e2e-'));
  const port = await freePort();
  const more = [...args];
  if (config !== undefined) {
    writeFileSync(join(folder, 'observatory.yml'), config);
    more.push('--config', join(folder, 'observatory.yml'));
  }
  const child = spawn(BINARY, ['up', '--listen', `127.0.0.1:${port}`, '--data', join(folder, 'data'), ...more], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (text) => (said = (said + text).slice(-4000)));
  const url = `http://127.0.0.1:${port}${prefix}/`;
  const stop = async () => {
    if (child.exitCode === null) {
      const ended = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  for (let tries = 0; tries < 200; tries += 1) {
    if (child.exitCode !== null) break;
    const ready = await fetch(`${url}-/ready`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (ready) return { url, port, stop };
    await new Promise((done) => setTimeout(done, 50));
  }
  await stop();
  throw new Error(`${BINARY} does not get ready:\n${said}`);
}

/** Starts a browser that has never seen anything. */
export async function startBrowser() {
  if (!BROWSER) throw new Error('There is no Chromium here. Install it, or name one in CHROMIUM_BIN.');
  const profile = mkdtempSync(join(tmpdir(), 'observatory-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: BROWSER,
    headless: true,
    args: FLAGS,
    chromiumSandbox: false,
  });
  const browser = context.browser();
  return {
    browser,
    /** A page of a fresh context. */
    newContext: (options) => (browser ?? context.browser()).newContext(options),
    stop: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Pushes metrics to a group, as `curl --data-binary` would. */
export async function push(url, path, body, headers = {}) {
  const answer = await fetch(`${url}metrics/${path}`, { method: 'POST', body, headers });
  if (!answer.ok) throw new Error(`push to ${path}: ${answer.status} ${await answer.text()}`);
}
