/**
 * The five core families in words: Spanish questions, and thoughts that say what they do (`try`, `right`, `so`).
 *
 * Their compact English thoughts stay as they are, because a published model was trained on them; these forms exist
 * beside them for mixtures of languages and for trying and verifying. A sum or difference is checked by undoing it,
 * a product by casting out nines (candidates that nines cannot tell apart are not proposed), a sorted list by its
 * neighbours.
 */
import { chainSum } from './families/chain-sum.ts';
import { digitRoot } from './families/digits.ts';
import { letterCounting } from './families/letter-counting.ts';
import { numberComparison } from './families/number-comparison.ts';
import { compared, operand } from './families/number-facts.ts';
import { numberSorting } from './families/number-sorting.ts';
import { products } from './families/products.ts';
import { readInteger, readList } from './families/reading.ts';
import type { CoreFamilyName, FactsOf, Family } from './problem.ts';
import { fill, fixedTexts, type Task } from './task.ts';
import type { CoreFamily } from './task-family.ts';
import { compose } from './thought.ts';

type Words<Name extends CoreFamilyName> = Pick<
  Task<Name, FactsOf[Name], never>,
  'read' | 'check' | 'guess' | 'slots' | 'vocabulary'
> & {
  /** Spanish questions; a function where they depend on the facts. */
  phrases(facts?: FactsOf[Name]): readonly string[];
  /** Lines before the result. Default: the compact thought without its last line, which is the result as it is. */
  steps?(facts: FactsOf[Name]): string[];
};

function inWords<Name extends CoreFamilyName>(
  core: CoreFamily<Name, FactsOf[Name]>,
  words: Words<Name>,
): Family<Name> {
  const reasoning = {
    answer: core.answer,
    read: words.read,
    steps: words.steps ?? ((facts: FactsOf[Name]) => core.think(facts, {}).split('\n').slice(0, -1)),
    check: words.check,
    guess: words.guess,
  };
  return {
    ...core,
    levels: 3,
    reasoning,
    ask: (facts, random, language = 'en') =>
      language === 'en'
        ? core.ask(facts, random)
        : fill(random.pick(words.phrases(facts)), words.slots(facts, language)),
    think(facts, options) {
      const { language, length, wrongTries, giveUp, answerLanguage = 'en' } = options;
      const compact =
        answerLanguage === 'en' &&
        [language, length, wrongTries, giveUp].every((value) => value === undefined);
      return compact ? core.think(facts, options) : compose(reasoning, facts, options);
    },
    templateTexts: (all = false) =>
      all
        ? [...core.templateTexts(), ...fixedTexts(words.phrases(), words.vocabulary)]
        : core.templateTexts(),
  };
}

const readNumbers = (text: string) => readList(text, readInteger);
const numbersOf = (text: string) => text.split(', ').map(Number);

/** The core families in a fixed order. */
export const coreFamilies: { readonly [Name in CoreFamilyName]: Family<Name> } = {
  chain_sum: inWords(chainSum, {
    phrases: (facts) => [
      ...(facts?.operation === 'subtract' ? [] : ['¿Cuánto es {a} + {b}?', 'Suma {a} y {b}.']),
      ...(facts?.operation === 'add' ? [] : ['¿Cuánto es {a} - {b}?', 'Resta {b} de {a}.']),
    ],
    slots: ({ left, right }) => ({ a: String(left), b: String(right) }),
    read: readInteger,
    check({ operation, left, right }, candidate) {
      const value = Number(candidate);
      const undone = operation === 'add' ? value - right : value + right;
      const sign = operation === 'add' ? '-' : '+';
      return [`${operand(value)}${sign}${right}=${undone}`, compared(undone, left)];
    },
    guess: (facts, random) =>
      String(Number(chainSum.answer(facts)) + random.pick([-100, -10, -1, 1, 10, 100])),
    vocabulary: ['+', '-', '=', '<', '>'],
  }),
  products: inWords(products, {
    phrases: () => ['¿Cuánto es {a} * {b}?', 'Multiplica {a} por {b}.', '¿Cuál es el producto de {a} y {b}?'],
    slots: ({ left, right }) => ({ a: String(left), b: String(right) }),
    read: readInteger,
    check({ left, right }, candidate) {
      const value = Number(candidate);
      const [p, q, r] = [digitRoot(left), digitRoot(right), digitRoot(value)];
      return [
        ...[left, right].map((factor) => `${factor} mod 9=${digitRoot(factor)}`),
        `${p}*${q}=${p * q}`,
        `${p * q} mod 9=${digitRoot(p * q)}`,
        `${value} mod 9=${r}`,
        compared(digitRoot(p * q), r),
      ];
    },
    guess: ({ left, right }, random) =>
      String(Math.abs(left * right + random.pick([-100, -10, -1, 1, 10, 100]))),
    vocabulary: ['*', 'mod', '=', '<', '>'],
  }),
  number_sorting: inWords(numberSorting, {
    phrases: (facts) => [
      ...(facts?.direction === 'descending' ? [] : ['Ordena {list} de menor a mayor.']),
      ...(facts?.direction === 'ascending' ? [] : ['Ordena {list} de mayor a menor.']),
    ],
    slots: ({ numbers }) => ({ list: numbers.join(', ') }),
    // With the whole numbers in ascending order: without them the result would have to be looked up, stripped of its
    // zeros and, descending, turned round in one step.
    steps: (facts) => numberSorting.think(facts, {}).split('\n').slice(0, 3),
    read: readNumbers,
    check: (_, candidate) => {
      const [first, ...others] = numbersOf(candidate);
      return [compared(first as number, ...others)];
    },
    guess(facts, random) {
      const numbers = numbersOf(numberSorting.answer(facts));
      const at = random.integer(1, numbers.length);
      [numbers[at - 1], numbers[at]] = [numbers[at] as number, numbers[at - 1] as number];
      return numbers.join(', ');
    },
    vocabulary: [',', '<', '>'],
  }),
  letter_counting: inWords(letterCounting, {
    phrases: () => ['¿Cuántas letras {letter} hay en {word}?', 'Cuenta las {letter} en "{word}".'],
    slots: ({ letter, word }) => ({ letter, word }),
    // The last line spells the word with the counts; the count alone is no line of the compact thought.
    steps: (facts) => letterCounting.think(facts, {}).split('\n'),
    read: readInteger,
    check({ letter, word }, candidate) {
      const count = word.split(letter).length - 1;
      const counted = Array.from({ length: count }, (_, i) => `${i + 1}${letter}`).join(' ');
      return [...(count > 0 ? [counted] : []), compared(count, Number(candidate))];
    },
    guess: (facts, random) =>
      String(Math.max(0, Number(letterCounting.answer(facts)) + random.pick([-1, 1, 2]))),
    vocabulary: ['=', '<', '>'],
  }),
  number_comparison: inWords(numberComparison, {
    phrases: (facts) => [
      ...(facts?.wanted === 'smaller' ? [] : ['¿Cuál es mayor, {a} o {b}?']),
      ...(facts?.wanted === 'larger' ? [] : ['¿Cuál es menor, {a} o {b}?']),
    ],
    slots: ({ left, right }) => ({ a: String(left), b: String(right) }),
    read: readInteger,
    check: ({ left, right }, candidate) => [
      compared(Number(candidate), Number(candidate) === left ? right : left),
    ],
    guess: ({ left, right }, random) => String(random.pick([left, right])),
    vocabulary: ['=', '<', '>'],
  }),
};
