/**
 * Which files of a model to fetch: patterns as in Python's fnmatch (which huggingface_hub uses, so that `*` also
 * matches slashes), and what a loader of safetensors needs where none is given.
 */

/** Whether one of the patterns matches. A pattern that ends in a slash means all below it. */
export function matchesAny(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => matches(path, pattern.endsWith('/') ? `${pattern}*` : pattern));
}

/** Weights in formats beside safetensors, and the code and pictures of other tools. */
const otherWeights =
  /\.(bin|pt|pth|ckpt|pkl|pickle|h5|msgpack|onnx|onnx_data|ot|tflite|mlmodel|mlpackage|npz|gguf)$/i;

/**
 * What a loader needs of these files: all of them, but weights in other formats where there are safetensors in the
 * main folder. Pickles and the like are then doubles that nothing here opens.
 */
export function usefulFiles<File extends { readonly path: string }>(files: readonly File[]): File[] {
  const hasSafetensors = files.some(({ path }) => /^[^/]+\.safetensors$/.test(path));
  return files.filter(({ path }) => !hasSafetensors || !otherWeights.test(path));
}

/** fnmatch in time proportional to text times pattern: on a mismatch only the last star is tried again. */
function matches(text: string, pattern: string): boolean {
  let t = 0;
  let p = 0;
  let star = -1;
  let tried = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      tried = t;
      continue;
    }
    const next = step(text[t] as string, pattern, p);
    if (next > 0) {
      t++;
      p = next;
    } else if (star >= 0) {
      p = star + 1;
      t = ++tried;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** Where the pattern goes on after one character, 0 if that does not match. */
function step(char: string, pattern: string, p: number): number {
  const want = pattern[p];
  if (want === undefined) return 0;
  if (want === '?') return p + 1;
  if (want === '[') {
    const negated = pattern[p + 1] === '!';
    const first = p + (negated ? 2 : 1);
    // A closing bracket in the first place is one of the characters.
    const end = pattern.indexOf(']', first + 1);
    if (end > 0) return inSet(char, pattern.slice(first, end)) === negated ? 0 : end + 1;
  }
  return want === char ? p + 1 : 0;
}

function inSet(char: string, set: string): boolean {
  for (let i = 0; i < set.length; i++) {
    const low = set[i] as string;
    const high = set[i + 1] === '-' ? set[i + 2] : undefined;
    if (high !== undefined) {
      if (low <= char && char <= high) return true;
      i += 2;
    } else if (low === char) return true;
  }
  return false;
}
