/**
 * Cleans a written answer before it is parsed: delimiters, spacing commands, Unicode signs, `x =` in front, currency
 * signs, and units behind.
 *
 * Units are taken off by rule, never guessed: the content of a closing `\text{...}` (or `\mathrm`, `\mbox`) that has
 * letters, or words of the list below (one letter only after a space). Two answers with different units differ; a missing unit agrees with any.
 */

/** An answer without its wrapping. */
export interface CleanText {
  readonly text: string;
  /** The unit in normal form, null where none was written. */
  readonly unit: string | null;
}

const signs: Readonly<Record<string, string>> = {
  '\u2212': '-',
  '\u2013': '-',
  '\u00d7': '*',
  '\u00b7': '*',
  '\u22c5': '*',
  '\u00f7': '/',
  '\u2044': '/',
  '\u221a': '\\sqrt ',
  '\u03c0': '\\pi ',
  '\u221e': '\\infty ',
  '\u222a': '\\cup ',
  '\u2208': '\\in ',
  '\u00b1': '\\pm ',
  '\u00b2': '^2',
  '\u00b3': '^3',
  '\u00a0': ' ',
  '\u2009': ' ',
  '\u202f': ' ',
  '\u20ac': '',
  '\u00a3': '',
};
const signPattern = new RegExp(`[${Object.keys(signs).join('')}]`, 'g');

const unitNames: Readonly<Record<string, readonly string[]>> = {
  mm: ['millimeter', 'millimetre'],
  cm: ['centimeter', 'centimetre'],
  m: ['meter', 'metre'],
  km: ['kilometer', 'kilometre'],
  in: ['inch', 'inches'],
  ft: ['foot', 'feet'],
  yd: ['yard'],
  mi: ['mile'],
  mg: ['milligram'],
  g: ['gram'],
  kg: ['kilogram'],
  lb: ['pound'],
  oz: ['ounce'],
  ml: ['milliliter', 'millilitre'],
  l: ['liter', 'litre'],
  s: ['sec', 'second'],
  min: ['minute'],
  h: ['hr', 'hour'],
  day: [],
  week: [],
  month: [],
  year: [],
  degree: ['deg'],
  radian: ['rad'],
  dollar: ['usd'],
  cent: [],
  euro: ['eur'],
  mph: [],
  unit: [],
  people: ['person'],
  time: [],
  way: [],
  apple: [],
  point: [],
};
const unitOf = new Map<string, string>();
for (const [name, others] of Object.entries(unitNames))
  for (const word of [name, ...others]) {
    unitOf.set(word, name);
    unitOf.set(`${word}s`, name);
  }

const square = new Set(['square', 'sq']);
const cubic = new Set(['cubic', 'cu']);

/** The normal form of a unit, null if it is none. `any` accepts words that are not in the list. */
function normalUnit(written: string, exponent: string, any: boolean): string | null {
  const words = written
    .toLowerCase()
    .replaceAll('.', ' ')
    .replaceAll('/', ' per ')
    .split(/\s+/)
    .filter(Boolean);
  if (words.length === 0 || words.length > 6) return null;
  let suffix = exponent;
  const names: string[] = [];
  for (const word of words) {
    if (square.has(word)) suffix = '2';
    else if (cubic.has(word)) suffix = '3';
    else if (word === 'per') names.push('/');
    else if (unitOf.has(word)) names.push(unitOf.get(word) as string);
    else if (any && /^[a-z-]+$/.test(word)) names.push(word);
    else return null;
  }
  return names.length === 0 ? null : names.join(' ') + (suffix === '' ? '' : `^${suffix}`);
}

const textCommand = /\\(?:text|textrm|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]{0,200})\}/g;
const mark = '\u0001';

function cutUnit(text: string): CleanText | null {
  let body = text.trim();
  let exponent = '';
  const raised = /\^\s*(?:\{\s*([23])\s*\}|([23]))$/.exec(body);
  const before = raised === null ? '' : body.slice(0, raised.index).trimEnd();
  if (raised !== null && (before.endsWith(mark) || /[A-Za-z]$/.test(before))) {
    exponent = raised[1] ?? (raised[2] as string);
    body = before;
  }
  if (body.endsWith(mark)) {
    const open = body.lastIndexOf(mark, body.length - 2);
    const unit = normalUnit(body.slice(open + 1, -1), exponent, true);
    const rest = body.slice(0, open).trim();
    return unit === null || rest === '' || rest.includes(mark) ? null : { text: rest, unit };
  }
  if (body.includes(mark)) return null;
  let start = body.length;
  while (start > 0 && /[A-Za-z ./]/.test(body[start - 1] as string)) start--;
  const tail = body.slice(start);
  if (!/[A-Za-z]/.test(tail) || body[start - 1] === '\\' || start === 0)
    return { text: text.trim(), unit: null };
  // "5. km" has its dot before the unit; ".5" alone never gets here, since a digit ends the tail.
  // "5m" may be five times m; "5 m" is a length.
  if (/^[A-Za-z]$/.test(tail)) return { text: text.trim(), unit: null };
  const unit = normalUnit(tail, exponent, false);
  return unit === null ? { text: text.trim(), unit: null } : { text: body.slice(0, start).trim(), unit };
}

const assignment = /(^|,)\s*([A-Za-z](?:_\{?\w\}?)?)\s*(?:=|\\in(?![A-Za-z]))/g;

/** The answer without its wrapping, null where words are in the way. */
export function cleanMaths(written: string): CleanText | null {
  let text = written
    .replace(signPattern, (sign) => signs[sign] as string)
    .replaceAll(/\\(?:left|right|displaystyle|limits|boldsymbol|bf|rm)(?![A-Za-z])/g, '')
    .replaceAll(/(\d)(?:\{,\}|\\,|,\\!)(?=\d{3}(?!\d))/g, '$1')
    .replaceAll(/\\[dtc]frac(?![A-Za-z])/g, '\\frac')
    .replaceAll(/\\[,!;: ]|~|\\q?quad(?![A-Za-z])/g, ' ')
    .replaceAll(/\\[()[\]]|\\?\$|^\s*\*\*|\*\*\s*$/g, '')
    .replaceAll('**', '^')
    .replaceAll('\\%', '%')
    .replaceAll('\\lbrace', '\\{')
    .replaceAll('\\rbrace', '\\}');
  const degrees = /\u00b0|\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])/g;
  const degree = degrees.test(text);
  if (degree) text = text.replaceAll(degrees, '');
  text = text
    .replaceAll(textCommand, (_, content: string) => {
      const inner = content.trim();
      if (/^(?:and|or)$/i.test(inner)) return ' , ';
      return /[A-Za-z]/.test(inner) ? ` ${mark}${inner}${mark} ` : inner;
    })
    .replaceAll(/(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])/g, ',')
    .trim()
    .replace(/[.,;!]$/, '');
  const cut = cutUnit(text);
  if (cut === null) return null;
  const named = new Set([...cut.text.matchAll(assignment)].map((match) => match[2]));
  // Which value belongs to which of several names would be lost.
  if (named.size > 1) return null;
  const bare = cut.text.replace(/^\(\s*[a-z]\s*(?:,\s*[a-z]\s*){1,4}\)\s*=/, '').replaceAll(assignment, '$1');
  return { text: bare.trim(), unit: cut.unit ?? (degree ? 'degree' : null) };
}
