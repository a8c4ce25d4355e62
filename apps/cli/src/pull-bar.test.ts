/** The line of a download. */
import { expect, it } from 'vitest';
import { PullBar } from './pull-bar.ts';

it('shows share, bytes, speed of the last seconds and the time left', () => {
  const bar = new PullBar();
  const at = (seconds: number, gigabytes: number, already = 0) =>
    bar.text(
      { total: 8e9, done: (already + gigabytes) * 1e9, received: gigabytes * 1e9, files: 4, filesDone: 1 },
      seconds * 1000,
    );
  expect(at(0, 0, 2)).toBe('[######------------------] 25 %  2.0 GB of 8.0 GB  1/4 files');
  expect(at(10, 1, 2)).toBe(
    '[#########---------------] 37 %  3.0 GB of 8.0 GB  1/4 files  100 MB/s  50 s left',
  );
  // The first seconds are forgotten.
  expect(at(20, 1.1, 2)).toContain('10.0 MB/s  8 min 10 s left');
  expect(at(30, 1.10001, 2)).toContain('1.0 kB/s  1361 h 5 min left');
});

it('is whole at the end, also of nothing', () => {
  const done = (total: number) =>
    new PullBar().text({ total, done: total, received: 0, files: 1, filesDone: 1 }, 5);
  expect(done(999)).toBe(`[${'#'.repeat(24)}] 100 %  999 B of 999 B  1/1 files`);
  expect(done(0)).toBe(`[${'#'.repeat(24)}] 100 %  0 B of 0 B  1/1 files`);
});
