// Checks what the built page weighs, compressed as it is served. Ends with 1 where a budget is exceeded.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const root = new URL('../../assets/ui/', import.meta.url).pathname;
const KB = 1024;
const BUDGETS = { entry: 75, styles: 14, page: 130, editor: 150, all: 420 };

const files = readdirSync(root, { recursive: true }).filter((path) => statSync(join(root, path)).isFile());
const weight = (path) => gzipSync(readFileSync(join(root, path)), { level: 9 }).length;
const sum = (paths) => paths.reduce((total, path) => total + weight(path), 0);

const index = readFileSync(join(root, 'index.html'), 'utf8');
const scripts = files.filter((path) => path.endsWith('.js'));
// What the page names itself is loaded at once; everything else waits for the editor.
const first = scripts.filter((path) => index.includes(path));
const later = scripts.filter((path) => !first.includes(path));
const editor = later.filter((path) => /editor/.test(path));

const found = {
  entry: sum(first),
  styles: sum(files.filter((path) => path.endsWith('.css'))),
  page: sum(first) + sum(later.filter((path) => !editor.includes(path))),
  editor: sum(editor),
  all: sum(files),
};
let over = false;
for (const [name, limit] of Object.entries(BUDGETS)) {
  const size = found[name] / KB;
  over ||= size > limit;
  console.log(`${name.padEnd(8)} ${size.toFixed(1).padStart(7)} KB gz of ${limit}${size > limit ? '  TOO LARGE' : ''}`);
}
if (first.length === 0 || editor.length === 0) {
  console.log('The page names no script, or there is no editor: this check looks in the wrong place.');
  over = true;
}
process.exitCode = over ? 1 : 0;
