// A stand-in for SonarCloud with one project: the calls the sync makes, answered as the real one does.
import { createServer } from 'node:http';

export const PROJECT = { key: 'example_beast', name: 'Beast' };
const DAY_S = 86_400;
const METRICS = { alert_status: 'LEVEL', bugs: 'INT', coverage: 'PERCENT', ncloc: 'INT', sqale_index: 'WORK_DUR' };

/**
 * An analysis a day for thirty days, and one ten minutes ago: coverage grows, the gate fails in the second week, each
 * week has a version.
 */
export function analyses(nowMs = Date.now()) {
  const now = Math.floor(nowMs / 1000);
  return Array.from({ length: 31 }, (_, day) => {
    const events = [];
    if (day % 7 === 2) events.push({ key: `V${day}`, category: 'VERSION', name: `1.${Math.floor(day / 7)}` });
    if (day === 8) events.push({ key: 'G8', category: 'QUALITY_GATE', name: 'Failed' });
    if (day === 14) events.push({ key: 'G14', category: 'QUALITY_GATE', name: 'Passed' });
    const values = {
      alert_status: day >= 8 && day < 14 ? 'ERROR' : 'OK',
      bugs: String(12 - Math.floor(day / 3)),
      coverage: (60 + day * 0.7).toFixed(1),
      ncloc: String(4_000 + day * 25),
      sqale_index: String(600 - day * 9),
    };
    return { date: day < 30 ? now - (30 - day) * DAY_S + 3_600 : now - 600, values, events };
  });
}

const written = (seconds) => new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, '+0000');
const read = (text) => Date.parse(text.replace(/\+0000$/, 'Z')) / 1000;

/** `{url, calls, stop}`. */
export async function startSonar() {
  const all = analyses();
  const calls = [];
  const answers = {
    '/api/metrics/search': () => {
      const metrics = Object.entries(METRICS).map(([key, type]) => ({ key, type, name: key, domain: 'Any' }));
      return { metrics, total: metrics.length, p: 1, ps: 500 };
    },
    '/api/components/search': () => ({
      paging: { pageIndex: 1, pageSize: 500, total: 1 },
      components: [{ ...PROJECT, qualifier: 'TRK' }],
    }),
    '/api/project_branches/list': () => ({
      branches: [{ name: 'main', isMain: true, type: 'LONG', analysisDate: written(all.at(-1).date) }],
    }),
    '/api/measures/search_history': (asked, found) => ({
      paging: { pageIndex: 1, pageSize: 1000, total: found.length },
      measures: asked
        .get('metrics')
        .split(',')
        .map((metric) => ({
          metric,
          history: found.map(({ date, values }) => ({ date: written(date), value: values[metric] })),
        })),
    }),
    '/api/project_analyses/search': (asked, found) => ({
      paging: { pageIndex: 1, pageSize: 500, total: found.length },
      analyses: found.toReversed().map(({ date, events }) => ({ key: `A${date}`, date: written(date), events })),
    }),
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams: asked } = new URL(request.url, 'http://localhost');
    calls.push(request.url);
    const bound = (name, otherwise) => (asked.has(name) ? read(asked.get(name)) : otherwise);
    const [from, to] = [bound('from', -Infinity), bound('to', Infinity) + 1];
    const found = all.filter(({ date }) => date >= from && date <= to);
    const body = answers[pathname]?.(asked, found);
    response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body ?? { errors: [{ msg: `Unknown url : ${pathname}` }] }));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, all, calls, stop };
}
