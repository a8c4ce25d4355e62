// Medians and rounding, and numbers computed from a name: both sides of a comparison get the same operands
// without a file between them (Python has the twin in tools/parity/hash_weights.py, which states the formula).

/** The middle of the numbers, or the mean of the two in the middle. */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Three significant digits, or all digits before the point. */
export function rounded(x) {
  return Math.abs(x) >= 100 ? Math.round(x) : Number(x.toPrecision(3));
}

/** `count` numbers in [-scale / 8, scale / 8) that depend on the name alone. */
export function hashed(name, count, scale = 1) {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) h = Math.imul(h ^ byte, 0x01000193);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    let x = (h + Math.imul(i, 0x9e3779b9)) | 0;
    x ^= x >>> 16;
    x = Math.imul(x, 0x21f0aaad);
    x ^= x >>> 15;
    x = Math.imul(x, 0x735a2d97);
    x ^= x >>> 15;
    values[i] = (((x >>> 8) - 2 ** 23) / 2 ** 26) * scale;
  }
  return values;
}
