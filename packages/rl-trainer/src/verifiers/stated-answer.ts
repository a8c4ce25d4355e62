/**
 * Finds where a visible text states its answer. Linear in the text: braces are matched in one pass, and statements
 * longer than any verifier reads are cut before they are copied.
 */
import type { Mode } from './verdict.ts';

/** Statements longer than this are no answers. */
export const maxStatement = 4096;

/** The contents of all innermost `\boxed{...}` (or `\fbox`), in order, with braces matched. */
export function boxedContents(text: string): string[] {
  const contents: string[] = [];
  // Open groups: the start of a box, or -1 for plain braces; and of the open boxes, whether they hold another.
  const open: number[] = [];
  const holdsBox: boolean[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === '\\') {
      const command = text.startsWith('\\boxed', i) ? 6 : text.startsWith('\\fbox', i) ? 5 : 0;
      if (command === 0) {
        i++; // an escaped brace groups nothing
        continue;
      }
      let brace = i + command;
      while (text[brace] === ' ') brace++;
      i = brace - 1;
      if (text[brace] !== '{') continue;
      if (holdsBox.length > 0) holdsBox[holdsBox.length - 1] = true;
      holdsBox.push(false);
      open.push(brace + 1);
      i = brace;
    } else if (char === '{') open.push(-1);
    else if (char === '}') {
      const from = open.pop() ?? -1;
      if (from >= 0 && holdsBox.pop() === false)
        contents.push(text.slice(from, Math.min(i, from + maxStatement + 1)));
    }
  }
  return contents;
}

/** The contents of all `<answer>...</answer>`, in order. */
function taggedAnswers(text: string): string[] {
  const contents: string[] = [];
  for (let at = text.indexOf('<answer>'); at >= 0; at = text.indexOf('<answer>', at + 8)) {
    const end = text.indexOf('</answer>', at);
    if (end < 0) break;
    contents.push(text.slice(at + 8, Math.min(end, at + 8 + maxStatement + 1)));
    at = end;
  }
  return contents;
}

/**
 * Candidate answers, best first.
 *
 * `strict`: all boxes, else all answer tags; they have to agree. `lenient`: the last box, the last answer tag, what
 * follows the last "answer is" or "answer:", the last formula between dollar signs or `\(` and `\)`, what follows the
 * last "=", the whole text; the first that can be read counts.
 */
export function statedAnswers(visible: string, mode: Mode): string[] {
  const boxed = boxedContents(visible);
  const tagged = taggedAnswers(visible);
  if (mode === 'strict') return [...new Set(boxed.length > 0 ? boxed : tagged)];
  // A reader looks at the end; no candidate lies further back than this except in a box or a tag.
  const end = visible.slice(-2 * maxStatement);
  const phrase = [...end.matchAll(/\banswer(?:\s+is)?\s{0,4}:?\**\s{0,4}([^\n]{1,400})/gi)].at(-1)?.[1];
  const formula = [...end.matchAll(/\$([^$]{1,400})\$|\\\(([^$]{1,400}?)\\\)/g)].at(-1);
  const lastLine = end.trimEnd().slice(end.trimEnd().lastIndexOf('\n') + 1);
  return [
    boxed.at(-1),
    tagged.at(-1),
    phrase,
    phrase?.split(/\.(?=\s)/)[0],
    formula?.[1] ?? formula?.[2],
    lastLine.includes('=') ? lastLine.slice(lastLine.lastIndexOf('=') + 1) : undefined,
    visible.length <= maxStatement ? visible : undefined,
  ].filter((candidate) => candidate !== undefined);
}

/** The last number of a text as it is written there, with separators, or null. */
export function lastNumber(text: string): string | null {
  const end = text.slice(-2 * maxStatement);
  return [...end.matchAll(/(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\d)/g)].at(-1)?.[0] ?? null;
}
