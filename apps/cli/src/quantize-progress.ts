/** How far a quantisation is, as one line: the share, weights a second, the time left. */

/** A function from numbers done to a line. Times are those of `now`, milliseconds on a clock that only goes forward. */
export function quantizeProgress(
  began: number,
): (
  progress: { readonly done: number; readonly total: number; readonly name: string },
  now: number,
) => string {
  return ({ done, total, name }, now) => {
    const seconds = (now - began) / 1000;
    const speed = seconds > 0 ? done / seconds : 0;
    const left = speed > 0 && done < total ? Math.ceil((total - done) / speed) : 0;
    return [
      `quantising: ${Math.floor((100 * done) / Math.max(total, 1))} %`,
      `${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} million weights`,
      ...(speed > 0 ? [`${(speed / 1e6).toFixed(0)} million/s`] : []),
      ...(left > 0
        ? [left < 60 ? `${left} s left` : `${Math.floor(left / 60)} min ${left % 60} s left`]
        : []),
      ...(name === '' ? [] : [name]),
    ].join('  ');
  };
}
