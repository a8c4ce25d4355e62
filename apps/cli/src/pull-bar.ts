/**
 * How far a download is, as one line: a bar, the share, bytes, speed over the last seconds and the time left.
 */
import type { PullProgress } from '@minke/checkpoints/hub';

/** The speed is that of so many milliseconds. */
const windowMs = 10_000;
const width = 24;

/** The line of one download. */
export class PullBar {
  readonly #samples: { readonly at: number; readonly received: number }[] = [];

  /** @param now milliseconds on any clock that only goes forward */
  text({ total, done, received, files, filesDone }: PullProgress, now: number): string {
    const samples = this.#samples;
    samples.push({ at: now, received });
    while (samples.length > 2 && now - (samples[1] as { at: number }).at >= windowMs) samples.shift();
    const { at, received: before } = samples[0] as { at: number; received: number };
    const speed = now > at ? ((received - before) / (now - at)) * 1000 : 0;
    const share = total === 0 ? 1 : done / total;
    const filled = Math.floor(share * width);
    return [
      `[${'#'.repeat(filled)}${'-'.repeat(width - filled)}] ${Math.floor(share * 100)} %`,
      `${bytes(done)} of ${bytes(total)}`,
      `${filesDone}/${files} files`,
      ...(speed > 0 ? [`${bytes(speed)}/s`] : []),
      ...(speed > 0 && done < total ? [`${time((total - done) / speed)} left`] : []),
    ].join('  ');
  }
}

/** Bytes in the unit that a disk is sold in. */
function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = count;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

function time(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
