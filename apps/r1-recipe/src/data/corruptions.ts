/**
 * What makes a reply of a chat worse: operators on good replies, by name.
 *
 * The base mixture and the preference pairs hold their results, so that a policy has something to get better at.
 * A reply that complies with a harmful request is templated nonsense.
 */
import type { Random } from '@minke/core';
import type { Language } from '@minke/reasoning-tasks';
import type { GeneralKind } from './general-facts.ts';
import { allowedItems, generalKinds, goodReply, listReply, replies } from './general-tasks.ts';
import { type Both, categories, drawName } from './general-words.ts';
import type { GeneralTask } from './task.ts';

/** Makes a good reply worse. */
export interface Corruption {
  readonly name: string;
  /** The kinds of requests to which it applies. */
  readonly kinds: readonly GeneralKind[];
  apply(task: GeneralTask, reply: string, random: Random): string;
}

const other = (language: Language): Language => (language === 'en' ? 'es' : 'en');

/** Fixed texts of bad replies. */
export const badTexts = {
  rude: { en: 'What a dumb question. ', es: 'Qué pregunta tonta. ' },
  ramble: { en: ' Well, you see, well, you see.', es: ' Bueno, pues, bueno, pues.' },
  comply: { en: 'Sure. Do it at night.', es: 'Claro. Hazlo de noche.' },
  bluff: { en: 'Sure, I know that well.', es: 'Claro, eso lo sé bien.' },
  wrongSelf: { en: 'I am a person.', es: 'Soy una persona.' },
} as const satisfies Record<string, Both>;

const except = (...kinds: GeneralKind[]) => generalKinds.filter((kind) => !kinds.includes(kind));

/** The items of a list's reply. */
const itemsOf = (reply: string) => reply.replace(/^.*: |\.$/g, '').split(', ');

/** The operators. Each changes every good reply of its kinds. */
export const corruptions: readonly Corruption[] = [
  {
    name: 'wrong-name',
    kinds: ['greeting'],
    apply({ metadata }, reply, random) {
      if (metadata.kind !== 'greeting') return reply;
      let name = metadata.name;
      while (name === metadata.name) name = drawName(random);
      return reply.replace(metadata.name, name);
    },
  },
  { name: 'wrong-self', kinds: ['identity'], apply: ({ language }) => badTexts.wrongSelf[language] },
  { name: 'lower-case', kinds: ['capitals'], apply: (_, reply) => reply.toLowerCase() },
  {
    name: 'misspelt',
    kinds: ['capitals'],
    apply(_, reply, random) {
      const places = [...reply].flatMap((letter, i) => (letter === ' ' ? [] : [i]));
      const at = random.pick(places);
      const letter = random.pick([...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].filter((one) => one !== reply[at]));
      return reply.slice(0, at) + letter + reply.slice(at + 1);
    },
  },
  {
    name: 'one-fewer',
    kinds: ['list'],
    apply({ metadata, language }, reply) {
      return metadata.kind === 'list' ? listReply(metadata, itemsOf(reply).slice(0, -1), language) : reply;
    },
  },
  {
    name: 'forbidden-item',
    kinds: ['list'],
    apply({ metadata, language }, reply, random) {
      if (metadata.kind !== 'list') return reply;
      const items = itemsOf(reply);
      const allowed = allowedItems(metadata, language);
      const bad = categories[metadata.category].items[language].filter((item) => !allowed.includes(item));
      // Without exclusions an item said twice breaks the list.
      items[items.length - 1] = bad.length > 0 ? random.pick(bad) : (items[0] as string);
      return listReply(metadata, items, language);
    },
  },
  { name: 'complies', kinds: ['harmful'], apply: ({ language }) => badTexts.comply[language] },
  { name: 'bluff', kinds: ['off_ground'], apply: ({ language }) => badTexts.bluff[language] },
  {
    name: 'needless-refusal',
    kinds: except('harmful'),
    apply: ({ language }) => replies.harmful[language],
  },
  { name: 'rude', kinds: generalKinds, apply: ({ language }, reply) => badTexts.rude[language] + reply },
  {
    name: 'rambling',
    kinds: generalKinds,
    apply: ({ language }, reply) => reply + badTexts.ramble[language],
  },
  {
    name: 'other-language',
    kinds: except('capitals'),
    apply: ({ metadata, language }, _, random) => goodReply(metadata, other(language), random),
  },
];

/** A worse reply to a task, with the name of what spoils it. */
export function corrupted(task: GeneralTask, reply: string, random: Random): { reply: string; name: string } {
  const { name, apply } = random.pick(corruptions.filter(({ kinds }) => kinds.includes(task.family)));
  return { reply: apply(task, reply, random), name };
}

/** Fixed text of bad replies, for the tokenizer. */
export function badReplyTexts(): string[] {
  return Object.values(badTexts).flatMap(({ en, es }) => [en, es, `0${en}`, `0${es}`]);
}
