import { expect, test } from 'vitest';
import { firstCommands, foreignSelectors, joinJobs, ratePerSecond, seriesByJob } from './home';

const row = (job: string, value: number) => ({ labels: { job }, seconds: 0, text: String(value), value });

test('jobs of all sources are one list', () => {
  const jobs = joinJobs(
    ['written', 'node', ''],
    [row('node', 1)],
    [row('node', 2)],
    [row('backup', 5)],
    new Map([['node', 7]]),
  );
  expect(jobs).toEqual([
    { name: 'backup', source: 'pushed', up: 0, total: 0, seenAt: 5, series: undefined },
    { name: 'node', source: 'scraped', up: 1, total: 2, seenAt: 0, series: 7 },
    { name: 'written', source: 'written', up: 0, total: 0, seenAt: 0, series: undefined },
  ]);
});

test('series are counted by job, whatever the job is called', () => {
  expect(
    seriesByJob([
      { name: 'job=a=b', value: 3 },
      { name: 'le=1', value: 9 },
    ]),
  ).toEqual(new Map([['a=b', 3]]));
});

test('what the server measures by itself is not foreign', () => {
  expect(foreignSelectors('a"b')).toEqual([
    '{__name__!="",job!~"observatory|node"}',
    '{__name__!="",job="node",instance!="a\\"b"}',
  ]);
});

test('a rate needs two readings of the same process', () => {
  expect(ratePerSecond({ at: 0, value: 10 }, { at: 2000, value: 30 })).toBe(10);
  expect(ratePerSecond(undefined, { at: 1, value: 1 })).toBeUndefined();
  expect(ratePerSecond({ at: 0, value: 10 }, { at: 1, value: 5 })).toBeUndefined();
});

test('commands name this server, and a token where one is needed', () => {
  const open = firstCommands('http://vm:9090/obs/');
  expect(open.push).toBe("echo 'demo_jobs_done 42' | curl --data-binary @- http://vm:9090/obs/metrics/job/demo");
  expect(open.write).toContain('url: http://vm:9090/obs/api/v1/write');
  expect(firstCommands('http://vm/', '').push).toContain('-H "Authorization: Bearer $TOKEN"');
  expect(firstCommands('http://vm/', '').write).toContain('credentials_file');
  expect(firstCommands('http://vm/', "a'b").push).toContain(String.raw`-H 'Authorization: Bearer a'\''b'`);
  expect(firstCommands('http://vm/', 'a"b').write).toContain(String.raw`credentials: "a\"b"`);
});
