/** Reading stated answers into normal form; every reader takes any text and is linear in its length. */

const integer = /^[-+]?(?:\d{1,64}|\d{1,3}(?:,\d{3})+)$/;

/** `1,325`, `+7`, `-3`, also after `x =`. */
export function readInteger(text: string): string | null {
  const bare = text.replace(/^[a-z]\s*=\s*/i, '');
  return integer.test(bare) ? BigInt(bare.replaceAll(',', '').replace(/^\+/, '')).toString() : null;
}

/** Items separated by commas or spaces, in brackets or not; each must pass `readItem`. */
export function readList(
  text: string,
  readItem: (item: string) => string | null,
  separator = ', ',
): string | null {
  const inner = /^\[[^[\]]*\]$/.test(text) ? text.slice(1, -1).trim() : text;
  const items = inner.split(/[\s,]+/).map(readItem);
  return items.length <= 64 && items.every((item) => item !== null) ? items.join(separator) : null;
}

/** A whole number without signs or separators, at most 15 digits. */
export function readDigits(text: string): string | null {
  return /^\d{1,15}$/.test(text) ? String(Number(text)) : null;
}

/** Lower-case letters, in quotation marks or not. */
export function readLetters(text: string): string | null {
  const bare = text.replace(/^(["'])(.*)\1$/, '$2').toLowerCase();
  return /^[a-z]{1,64}$/.test(bare) ? bare : null;
}
