/** Numbers and times short enough for an axis, a legend or a line of progress. */

/** `0.834`, `12`, `45.3k`, `1.2M`. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${trimmed((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${trimmed((value / 1e3).toPrecision(3))}k`;
  if (Number.isInteger(value)) return String(value);
  if (size >= 1000) return value.toFixed(0);
  if (size >= 0.001) return trimmed(value.toPrecision(3));
  return value.toExponential(1).replace('e-', 'e−');
}

/** Without zeros at the end of a fraction. */
export function trimmed(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** `1 h 02 min`, `3 min 20 s`, `4.2 s`. */
export function duration(seconds: number): string {
  if (seconds < 59.5) return `${seconds < 9.95 ? seconds.toFixed(1) : seconds.toFixed(0)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours} h ${two(minutes)} min` : `${minutes} min ${two(whole % 60)} s`;
}
