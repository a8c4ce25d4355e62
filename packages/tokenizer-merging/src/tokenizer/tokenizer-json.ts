/**
 * Reads the Hugging Face `tokenizer.json` format into what the tokenizer needs, checking every field it uses.
 *
 * Supported: a byte-level BPE model (merges as "a b" strings or as pairs, `ignore_merges`), added tokens, no
 * normalizer (or an empty Sequence, or NFC), byte-level pre-tokenizers, the ByteLevel decoder, and
 * TemplateProcessing or ByteLevel post-processors. A broken field gives `MinkeError('invalid-file')`, a field
 * that would change the ids in a way this package lacks (dropout, byte fallback, sub-word prefixes, other
 * models) gives `MinkeError('unsupported')`. `truncation` and `padding` are the caller's business and ignored.
 */
import { type AddedToken, isControl } from './added-tokens.ts';
import { byteToChar } from './byte-alphabet.ts';
import {
  asArray,
  asFlag,
  asObject,
  asString,
  asTokenId,
  isTokenId,
  type JsonObject,
  maxTokens,
  unsupportedField,
  wrongField,
} from './json-fields.ts';
import { type PreTokenizer, parsePreTokenizer } from './pre-tokenizer.ts';

/** A merge: ids of the left part, the right part and the token they give. */
export type Merge = readonly [left: number, right: number, result: number];

/** A `tokenizer.json` after validation. */
export interface TokenizerSpec {
  readonly vocab: ReadonlyMap<string, number>;
  /** Text of each id, added tokens included; its length is the largest id plus one. */
  readonly tokenOfId: readonly (string | undefined)[];
  /** In order of rank. */
  readonly merges: readonly Merge[];
  readonly ignoreMerges: boolean;
  readonly addedTokens: readonly AddedToken[];
  readonly nfc: boolean;
  readonly preTokenizer: PreTokenizer;
  /** Ids that `addSpecialTokens` puts before and after a text. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
  /** Parts kept verbatim for writing. */
  readonly source: {
    readonly normalizer: unknown;
    readonly preTokenizer: unknown;
    readonly postProcessor: unknown;
  };
}

/** Validates a parsed `tokenizer.json`. */
export function parseTokenizerJson(json: unknown): TokenizerSpec {
  const root = asObject(json, 'the file');
  const model = asObject(root.model, 'model');
  checkModel(model);
  const { vocab, tokenOfId } = parseVocab(model.vocab);
  const merges = parseMerges(model.merges, vocab, tokenOfId);
  const addedTokens = parseAddedTokens(root.added_tokens, vocab, tokenOfId);
  checkDecoder(root.decoder, 'decoder');
  const { prefix, suffix } = parsePostProcessor(root.post_processor, 'post_processor', tokenOfId);
  return {
    vocab,
    tokenOfId,
    merges,
    ignoreMerges: asFlag(model.ignore_merges, 'model.ignore_merges', false),
    addedTokens,
    nfc: parseNormalizer(root.normalizer, 'normalizer'),
    preTokenizer: parsePreTokenizer(root.pre_tokenizer),
    prefix,
    suffix,
    source: {
      normalizer: root.normalizer ?? null,
      preTokenizer: root.pre_tokenizer,
      postProcessor: root.post_processor ?? null,
    },
  };
}

function checkModel(model: JsonObject): void {
  if (model.type !== undefined && asString(model.type, 'model.type') !== 'BPE')
    throw unsupportedField('model.type', 'BPE', model.type);
  if (asFlag(model.byte_fallback, 'model.byte_fallback', false))
    throw unsupportedField('model.byte_fallback', 'false (byte-level vocabularies need no fallback)', true);
  if (model.dropout !== undefined && model.dropout !== null && model.dropout !== 0) {
    if (typeof model.dropout !== 'number')
      throw wrongField('model.dropout', 'a number or null', model.dropout);
    throw unsupportedField('model.dropout', 'null (encoding is deterministic)', model.dropout);
  }
  for (const name of ['continuing_subword_prefix', 'end_of_word_suffix']) {
    const value = model[name];
    if (value === undefined || value === null) continue;
    if (asString(value, `model.${name}`) !== '') throw unsupportedField(`model.${name}`, 'null', value);
  }
}

interface Vocabulary {
  readonly vocab: Map<string, number>;
  readonly tokenOfId: (string | undefined)[];
}

function parseVocab(json: unknown): Vocabulary {
  const entries = asObject(json, 'model.vocab');
  const tokens = Object.keys(entries);
  const vocab = new Map<string, number>();
  const tokenOfId = new Array<string | undefined>(tokens.length).fill(undefined);
  const pathOf = (token: string) => `model.vocab[${JSON.stringify(token.slice(0, 60))}]`;
  for (const token of tokens) {
    const value = entries[token];
    const id = isTokenId(value) ? value : asTokenId(value, pathOf(token));
    const owner = tokenOfId[id];
    if (owner !== undefined)
      throw wrongField(pathOf(token), `an id no other token has (${JSON.stringify(owner)} has it)`, id);
    tokenOfId[id] = token;
    vocab.set(token, id);
  }
  // Some vocabularies lack bytes that their training text had none of (SmolLM2: control characters and what UTF-8 never
  // has); those are left out of what is encoded, as `tokenizers` does. Without the bytes of plain text it is another kind.
  const missing = byteToChar.filter((char, byte) => isPlain(byte) && !vocab.has(char));
  if (missing.length > 0)
    throw unsupportedField(
      'model.vocab',
      `byte-level vocabularies, with a token for each byte of plain ASCII text (${missing.length} are missing, first ${JSON.stringify(missing[0])})`,
      json,
    );
  while (tokenOfId.length > 0 && tokenOfId[tokenOfId.length - 1] === undefined) tokenOfId.pop();
  return { vocab, tokenOfId };
}

/** A line feed, a space, or a visible ASCII character. */
const isPlain = (byte: number): boolean => byte === 10 || (byte >= 0x20 && byte < 0x7f);

function parseMerges(
  json: unknown,
  vocab: ReadonlyMap<string, number>,
  tokenOfId: readonly (string | undefined)[],
): Merge[] {
  const entries = asArray(json, 'model.merges');
  if (entries.length >= maxTokens)
    throw wrongField('model.merges', `fewer than ${maxTokens} merges`, entries);
  const merges: Merge[] = [];
  // Most files give results ids in the order of merges: the next one is a guess that saves joining and looking up.
  let guess = -1;
  for (let rank = 0; rank < entries.length; rank++) {
    const entry = entries[rank];
    const parts = twoTokens(entry);
    if (parts === undefined) throw wrongField(`model.merges[${rank}]`, 'two tokens', entry);
    const [left, right] = parts;
    const result = isJoined(tokenOfId[guess], left, right) ? guess : vocab.get(left + right);
    const leftId = vocab.get(left);
    const rightId = vocab.get(right);
    if (leftId === undefined || rightId === undefined || result === undefined)
      throw wrongField(`model.merges[${rank}]`, 'tokens whose parts and result are in model.vocab', entry);
    guess = result + 1;
    merges.push([leftId, rightId, result]);
  }
  return merges;
}

/** The parts of `"a b"` or `["a", "b"]`, or undefined. */
function twoTokens(entry: unknown): readonly [string, string] | undefined {
  if (typeof entry === 'string') {
    const space = entry.indexOf(' ');
    if (space < 0 || entry.indexOf(' ', space + 1) >= 0) return undefined;
    return [entry.slice(0, space), entry.slice(space + 1)];
  }
  if (!Array.isArray(entry) || entry.length !== 2) return undefined;
  const [left, right] = entry as unknown[];
  return typeof left === 'string' && typeof right === 'string' ? [left, right] : undefined;
}

function isJoined(token: string | undefined, left: string, right: string): boolean {
  return (
    token !== undefined &&
    token.length === left.length + right.length &&
    token.startsWith(left) &&
    token.endsWith(right)
  );
}

/** Adds the tokens to `tokenOfId`, too. */
function parseAddedTokens(
  json: unknown,
  vocab: ReadonlyMap<string, number>,
  tokenOfId: (string | undefined)[],
): AddedToken[] {
  if (json === undefined || json === null) return [];
  const seen = new Set<string>();
  return asArray(json, 'added_tokens').map((entry, i) => {
    const path = `added_tokens[${i}]`;
    const node = asObject(entry, path);
    const content = asString(node.content, `${path}.content`);
    if (content.length === 0) throw wrongField(`${path}.content`, 'a non-empty string', content);
    if (seen.has(content)) throw wrongField(`${path}.content`, 'a token not listed before', content);
    seen.add(content);
    const id = asTokenId(node.id, `${path}.id`);
    const expected = vocab.get(content);
    if (expected !== undefined && expected !== id)
      throw wrongField(`${path}.id`, `${expected}, the token's id in model.vocab`, id);
    const owner = tokenOfId[id];
    if (owner !== undefined && owner !== content)
      throw wrongField(`${path}.id`, `an id no other token has (${JSON.stringify(owner)} has it)`, id);
    tokenOfId[id] = content;
    const special = asFlag(node.special, `${path}.special`, false);
    return {
      id,
      content,
      special,
      singleWord: asFlag(node.single_word, `${path}.single_word`, false),
      lstrip: asFlag(node.lstrip, `${path}.lstrip`, false),
      rstrip: asFlag(node.rstrip, `${path}.rstrip`, false),
      normalized: asFlag(node.normalized, `${path}.normalized`, !special),
    };
  });
}

function parseNormalizer(json: unknown, path: string): boolean {
  if (json === undefined || json === null) return false;
  const node = asObject(json, path);
  const type = asString(node.type, `${path}.type`);
  if (type === 'NFC') return true;
  if (type === 'Sequence') {
    const children = asArray(node.normalizers, `${path}.normalizers`);
    if (children.length === 0) return false;
    if (children.length === 1) {
      const child = asObject(children[0], `${path}.normalizers[0]`);
      if (child.type === 'NFC') return true;
    }
  }
  throw unsupportedField(path, 'null, an empty Sequence and NFC', node);
}

function checkDecoder(json: unknown, path: string): void {
  const node = asObject(json, path);
  const type = asString(node.type, `${path}.type`);
  if (type === 'ByteLevel') return;
  if (type === 'Sequence') {
    const children = asArray(node.decoders, `${path}.decoders`);
    if (children.length === 1) {
      checkDecoder(asObject(children[0], `${path}.decoders[0]`), `${path}.decoders[0]`);
      return;
    }
  }
  throw unsupportedField(path, 'ByteLevel', node);
}

interface Affixes {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

function parsePostProcessor(
  json: unknown,
  path: string,
  tokenOfId: readonly (string | undefined)[],
): Affixes {
  if (json === undefined || json === null) return { prefix: [], suffix: [] };
  const node = asObject(json, path);
  const type = asString(node.type, `${path}.type`);
  if (type === 'ByteLevel') return { prefix: [], suffix: [] };
  if (type === 'Sequence') {
    const children = asArray(node.processors, `${path}.processors`);
    const parts = children.map((child, i) => {
      const childPath = `${path}.processors[${i}]`;
      if (asObject(child, childPath).type === 'Sequence')
        throw unsupportedField(childPath, 'no nested Sequence', child);
      return parsePostProcessor(child, childPath, tokenOfId);
    });
    return { prefix: parts.flatMap((p) => p.prefix).reverse(), suffix: parts.flatMap((p) => p.suffix) };
  }
  if (type !== 'TemplateProcessing') throw unsupportedField(path, 'TemplateProcessing and ByteLevel', node);
  return parseTemplate(node, path, tokenOfId);
}

function parseTemplate(node: JsonObject, path: string, tokenOfId: readonly (string | undefined)[]): Affixes {
  const specials = asObject(node.special_tokens ?? {}, `${path}.special_tokens`);
  const prefix: number[] = [];
  const suffix: number[] = [];
  let texts = 0;
  asArray(node.single, `${path}.single`).forEach((entry, i) => {
    const at = `${path}.single[${i}]`;
    const piece = asObject(entry, at);
    if (piece.Sequence !== undefined) {
      if (asString(asObject(piece.Sequence, `${at}.Sequence`).id, `${at}.Sequence.id`) !== 'A')
        throw wrongField(`${at}.Sequence.id`, '"A"', piece.Sequence);
      texts++;
      return;
    }
    const name = asString(asObject(piece.SpecialToken, `${at}.SpecialToken`).id, `${at}.SpecialToken.id`);
    const entryPath = `${path}.special_tokens[${JSON.stringify(name)}]`;
    const special = asObject(Object.hasOwn(specials, name) ? specials[name] : undefined, entryPath);
    for (const value of asArray(special.ids, `${entryPath}.ids`)) {
      const id = asTokenId(value, `${entryPath}.ids`);
      if (tokenOfId[id] === undefined) throw wrongField(`${entryPath}.ids`, 'ids of known tokens', id);
      (texts === 0 ? prefix : suffix).push(id);
    }
  });
  if (texts !== 1) throw wrongField(`${path}.single`, 'a template with sequence A once', node.single);
  return { prefix, suffix };
}

/** Ids that plain text must never give: those of control tokens. */
export function controlIds(addedTokens: readonly AddedToken[]): ReadonlySet<number> {
  return new Set(addedTokens.filter(isControl).map((token) => token.id));
}
