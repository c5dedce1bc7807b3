// Weeks of made-up code quality: series as the sync with SonarCloud stores them, and what its API says.

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Values hold until the next analysis; here they are repeated this often, which `CONFIG` bridges. */
const EVERY = 4 * HOUR;

/** For a server with such data: the sync repeats values each minute, which nobody wants to write for weeks. */
export const CONFIG = 'hosts:\n  enabled: false\nlimits:\n  query_lookback_delta: 5h\n';

function chance(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const PROJECTS = [
  { key: 'example_storefront', name: 'Storefront', lines: 48_200, coverage: 0.78, trend: 0.0016, bugs: 9, debt: 61 },
  {
    key: 'com.example:payment-api',
    name: 'Payment API',
    lines: 21_900,
    coverage: 0.91,
    trend: 0.0004,
    bugs: 2,
    debt: 18,
  },
  {
    key: 'example_billing',
    name: 'Billing & invoices',
    lines: 33_400,
    coverage: 0.64,
    trend: -0.0022,
    bugs: 21,
    debt: 140,
  },
  { key: 'example_search', name: 'Search', lines: 12_700, coverage: 0.83, trend: 0.0009, bugs: 4, debt: 22 },
  {
    key: 'com.example:mobile_app',
    name: 'Mobile app',
    lines: 75_100,
    coverage: 0.47,
    trend: 0.003,
    bugs: 33,
    debt: 310,
  },
  // Nobody measures its coverage: it has no value, which is not 0.
  { key: 'example_infrastructure', name: 'Infrastructure', lines: 3_900, bugs: 1, debt: 6 },
];
const SEVERITIES = { blocker: 0.01, critical: 0.06, major: 0.4, minor: 0.38, info: 0.15 };
const rating = (value, ...limits) => 1 + limits.filter((limit) => value > limit).length;

/** `{all, status, projects, events}`: what to `write`, and the answers of the API. */
export function quality(days = 30) {
  const now = Math.floor(Date.now() / 60_000) * 60_000;
  const all = [];
  const events = [];
  const projects = PROJECTS.map((project, place) => ({
    key: project.key,
    name: project.name,
    synced_ms: now - (project.key === 'example_search' ? 7 : 0.2) * HOUR,
    branches: ['main', ...(place < 3 ? ['release/2.4'] : [])].map((name, index) => {
      const random = chance(17 + place * 31 + index * 7);
      const analyses = branch(project, name, now, days, random, all, events);
      const last = analyses.at(-1);
      return { name, is_main: index === 0, analyzed_ms: last, stored_ms: last, gate: null, gone_ms: null };
    }),
  }));
  const status = {
    is_configured: true,
    url: 'https://sonarcloud.io',
    organization: 'example',
    names: 'base',
    interval_ms: HOUR,
    calls_per_hour: 3_000,
    calls_left: 2_713,
    lag_ms: 0,
    is_running: false,
    started_ms: now - 0.21 * HOUR,
    ended_ms: now - 0.2 * HOUR,
    success_ms: now - 7 * HOUR,
    next_ms: now + 0.8 * HOUR,
    problems: [
      {
        project: 'example_search',
        message: 'SonarCloud answered 403: Insufficient privileges. Give the token the right to browse it.',
        at_ms: now - 0.2 * HOUR,
      },
    ],
    projects: projects.length,
    branches: projects.reduce((sum, project) => sum + project.branches.length, 0),
  };
  return { all, status, projects, events: events.sort((a, b) => b.time_ms - a.time_ms) };
}

function branch(project, name, now, days, random, all, events) {
  const labels = { project: project.key, branch: name };
  const series = new Map();
  const put = (metric, more, from, until, value) => {
    const key = JSON.stringify([metric, more]);
    const points = series.get(key) ?? [];
    series.set(key, points);
    for (let ms = from; ms < until; ms += EVERY) points.push([ms, value]);
    points.push([until - 60_000, value]);
  };
  const analyses = [];
  for (let ms = now - days * DAY + random() * DAY; ms < now - 0.4 * HOUR; ms += (0.3 + 2 * random()) * DAY)
    analyses.push(Math.floor(ms / 1000) * 1000);
  let gate = '';
  let smells = project.debt * 4;
  let bugs = project.bugs;
  let vulnerabilities = Math.round(project.bugs / 4);
  let version = 1;
  analyses.forEach((ms, index) => {
    const until = analyses[index + 1] ?? now + 60_000;
    const jump = () => Math.round(random() * 5 - 2.5);
    smells = Math.max(3, smells + 4 * jump());
    bugs = Math.max(0, bugs + jump());
    vulnerabilities = Math.max(0, vulnerabilities + Math.round(random() * 2.4 - 1.2));
    const hotspots = Math.max(0, Math.round(project.bugs / 3 + 2 * random()));
    const lines = Math.round(project.lines * (1 + index * 0.004 + random() * 0.002));
    const duplication = 0.021 + 0.0004 * project.bugs + 0.004 * random();
    const gauge = (metric, value, more = {}) => put(metric, more, ms, until, value);
    if (project.coverage !== undefined) {
      const day = (ms - now) / DAY + days;
      const coverage = Math.min(0.99, project.coverage + project.trend * day + 0.006 * (random() - 0.5));
      gauge('sonar_coverage_ratio', coverage);
      gauge('sonar_line_coverage_ratio', coverage + 0.012);
      gauge('sonar_branch_coverage_ratio', coverage - 0.041);
    }
    gauge('sonar_bugs', bugs);
    gauge('sonar_vulnerabilities', vulnerabilities);
    gauge('sonar_code_smells', smells);
    gauge('sonar_security_hotspots', hotspots);
    gauge('sonar_reliability_rating', rating(bugs, 0, 5, 12, 30));
    gauge('sonar_security_rating', rating(vulnerabilities, 0, 1, 4, 9));
    gauge('sonar_sqale_rating', rating(smells / lines, 0.012, 0.02, 0.05));
    gauge('sonar_security_review_rating', rating(hotspots, 0, 2, 6, 11));
    gauge('sonar_sqale_index_seconds', smells * 900);
    gauge('sonar_duplicated_lines_density_ratio', duplication);
    gauge('sonar_ncloc', lines);
    gauge('sonar_analysis_timestamp_seconds', ms / 1000);
    for (const [severity, share] of Object.entries(SEVERITIES))
      gauge('sonar_issues', Math.round((smells + bugs) * share), { severity });
    const is = vulnerabilities > project.bugs / 3 || bugs > project.bugs + 2 ? 'error' : 'ok';
    for (const status of ['ok', 'warn', 'error']) gauge('sonar_quality_gate_status', status === is ? 1 : 0, { status });
    const event = (category, text) =>
      events.push({ time_ms: ms, project: project.key, branch: name, category, name: text });
    if (gate !== '' && is !== gate) event('QUALITY_GATE', is === 'ok' ? 'Passed' : 'Failed');
    gate = is;
    if (index % 5 === 2) event('VERSION', `${name === 'main' ? '3' : '2.4'}.${(version += 1)}`);
    if (index === 4 && name === 'main') event('QUALITY_PROFILE', 'Rules of “Sonar way” were updated');
  });
  for (const [key, points] of series) {
    const [metric, more] = JSON.parse(key);
    all.push([{ __name__: metric, ...labels, ...more }, points]);
  }
  return analyses;
}

/** Lets `context` (or a page) get these answers of the API instead of those of the server. */
export async function answer(context, { status, projects, events }) {
  const json = (route, data) =>
    route.fulfill({ contentType: 'application/json', body: JSON.stringify({ status: 'success', data }) });
  await context.route('**/api/v1/sonar/status*', (route) => json(route, status));
  await context.route('**/api/v1/sonar/projects*', (route) => json(route, { projects }));
  await context.route('**/api/v1/sonar/events*', (route) => {
    const asked = new URL(route.request().url()).searchParams;
    const has = (name, value) => !asked.get(name) || asked.get(name) === value;
    const [start, end] = [Number(asked.get('start')) * 1000, Number(asked.get('end')) * 1000];
    const found = events.filter(
      (event) =>
        has('project', event.project) && has('branch', event.branch) && event.time_ms >= start && event.time_ms <= end,
    );
    // Oldest first, as the server has them.
    return json(route, { events: found.toReversed(), is_truncated: false });
  });
}
