/**
 * `word_sorting`: words in alphabetical order, `a, b, c`.
 *
 * Levels 1 to 4: 3, 4, 5 and 6 words of 3 to 5 letters. The derivation
 * writes the first letters in order; a candidate is checked neighbour by neighbour.
 */
import { makeFamily } from '../task.ts';
import { wordOf } from './letters.ts';
import { readLetters, readList } from './reading.ts';

/** The facts of words to sort, all different, in the order of the question. */
export interface WordSortingFacts {
  readonly words: readonly string[];
}

const sorted = (words: readonly string[]) => [...words].sort();
const listed = (text: string) => text.split(', ');

export const wordSorting = makeFamily<'word_sorting', WordSortingFacts, number>({
  name: 'word_sorting',
  levels: [3, 4, 5, 6],
  make(random, count) {
    const words = new Set<string>();
    while (words.size < count) words.add(wordOf(random, [3, 5]));
    return { words: [...words] };
  },
  form: ({ words }) => sorted(words).join(','),
  phrases: {
    en: [
      'Sort these words in alphabetical order: {words}',
      'Put {words} in alphabetical order.',
      'Sort alphabetically: {words}',
    ],
    es: ['Ordena alfabéticamente: {words}', 'Pon {words} en orden alfabético.'],
  },
  slots: ({ words }) => ({ words: words.join(', ') }),
  answer: ({ words }) => sorted(words).join(', '),
  read: (text) => readList(text, readLetters),
  steps: ({ words }) => [
    sorted(words)
      .map((word) => word[0])
      .join(' '),
  ],
  check(_, candidate) {
    const words = listed(candidate);
    return [
      words
        .slice(1)
        .map((word, i) => `${words[i]}${(words[i] as string) < word ? '<' : '>'}${word}`)
        .join(' '),
    ];
  },
  guess({ words }, random) {
    const order = sorted(words);
    const at = random.integer(1, order.length);
    [order[at - 1], order[at]] = [order[at] as string, order[at - 1] as string];
    return order.join(', ');
  },
  vocabulary: [',', '<', '>', ':'],
});
