/**
 * Classes of characters for hand-written scans of UTF-8: a byte of flags for each code point.
 *
 * They come from the engine's own Unicode properties, with what Unicode 16 lacks left unassigned, so a scan sees what
 * the regular expressions of `pattern.ts` see (`unicode-version.ts` has the reason). Planes 4 to 13 and the private ones
 * hold nothing that a pattern asks for and are not looked at. Built at first use: 1.1 MB and some tens of milliseconds.
 */
import { decodedRanges } from './unicode-version.ts';

export const letter = 1;
export const mark = 2;
export const number = 4;
export const punctuation = 8;
export const symbol = 16;
/** White_Space but for the two below. */
export const space = 32;
/** Carriage return and line feed. */
export const lineEnd = 64;
/** Letters that have case (Lu, Ll, Lt), besides `letter`. */
export const cased = 128;

const codePoints = 0x110000;
/** Planes that have letters, marks, numbers, signs or white space in some version of Unicode. */
const planes = [0, 1, 2, 3, 14];

const properties: readonly (readonly [property: string, flag: number])[] = [
  ['L', letter],
  ['M', mark],
  ['N', number],
  ['P', punctuation],
  ['S', symbol],
  ['White_Space', space],
  ['Lu', cased],
  ['Ll', cased],
  ['Lt', cased],
];

let general: Uint8Array | undefined;

/** Flags of each code point, [0x110000]. The array is shared: copy it to change it. */
export function generalClasses(): Uint8Array {
  if (general !== undefined) return general;
  const classes = new Uint8Array(codePoints);
  for (const plane of planes) {
    const first = plane << 16;
    const text = planeText(first);
    // A code unit of the text is half a code point beyond the first plane.
    const pointAt = (unit: number) => first + (plane === 0 ? unit : unit >> 1);
    for (const [property, flag] of properties)
      for (const match of text.matchAll(new RegExp(`\\p{${property}}+`, 'gu'))) {
        const end = pointAt(match.index + match[0].length);
        for (let point = pointAt(match.index); point < end; point++) classes[point]! |= flag;
      }
  }
  for (const [from, to] of decodedRanges()) classes.fill(0, from, to + 1);
  classes[0x0a] = lineEnd;
  classes[0x0d] = lineEnd;
  general = classes;
  return classes;
}

/** All characters of a plane in order; surrogates, which are none, as spaces of a class that nothing asks for. */
function planeText(first: number): string {
  const parts: string[] = [];
  for (let point = first; point < first + 0x10000; point += 0x1000) {
    const points = Array.from({ length: 0x1000 }, (_, i) =>
      point + i >= 0xd800 && point + i < 0xe000 ? 0xe000 : point + i,
    );
    parts.push(String.fromCodePoint(...points));
  }
  return parts.join('');
}

/** Flags of the character whose UTF-8 begins at `at`. */
export function classAt(classes: Uint8Array, bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return classes[first]!;
  return classes[codePointAt(bytes, at)]!;
}

/** The code point whose UTF-8 begins at `at`; the bytes must be UTF-8. */
export function codePointAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return first;
  const second = bytes[at + 1]! & 0x3f;
  if (first < 0xe0) return ((first & 0x1f) << 6) | second;
  const third = bytes[at + 2]! & 0x3f;
  if (first < 0xf0) return ((first & 0x0f) << 12) | (second << 6) | third;
  return ((first & 0x07) << 18) | (second << 12) | (third << 6) | (bytes[at + 3]! & 0x3f);
}

/** Bytes of the character that begins with this byte. */
export function widthOf(first: number): number {
  return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/** Where the characters that have one of the flags of `mask` end, from `at` on. */
export function runEnd(
  classes: Uint8Array,
  bytes: Uint8Array,
  at: number,
  end: number,
  mask: number,
): number {
  let next = at;
  while (next < end) {
    const first = bytes[next]!;
    if (first < 0x80) {
      if ((classes[first]! & mask) === 0) break;
      next++;
    } else {
      if ((classes[codePointAt(bytes, next)]! & mask) === 0) break;
      next += first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    }
  }
  return next;
}
