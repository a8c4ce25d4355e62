/**
 * `calendar_arithmetic`: the day of the week some days after or before another.
 *
 * Levels 1 to 4: up to 30, 100, 365 and 2000 days. Days are numbered from Monday 0; the derivation takes the distance
 * modulo 7 and goes on from there. A candidate's distance is compared with it.
 */
import type { Language } from '../language.ts';
import { makeFamily } from '../task.ts';
import { compared, operand } from './number-facts.ts';

/** The facts of a day of the week: `start` in [0, 7), Monday 0; `days` positive after, negative before. */
export interface CalendarArithmeticFacts {
  readonly start: number;
  readonly days: number;
}

const names: Readonly<Record<Language, readonly string[]>> = {
  en: ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'],
  es: ['lunes', 'martes', 'miércoles', 'jueves', 'viernes', 'sábado', 'domingo'],
};

const modulo = (value: number) => ((value % 7) + 7) % 7;
const end = ({ start, days }: CalendarArithmeticFacts) => modulo(start + days);

export const calendarArithmetic = makeFamily<
  'calendar_arithmetic',
  CalendarArithmeticFacts,
  readonly [number, number]
>({
  name: 'calendar_arithmetic',
  levels: [
    [1, 31],
    [10, 101],
    [100, 366],
    [366, 2001],
  ],
  make(random, [from, below]) {
    const days = random.integer(from, below);
    return { start: random.integer(0, 7), days: random.integer(0, 2) === 0 ? days : -days };
  },
  // Forth and back between the same two days is one problem.
  form: (facts) => `${facts.days > 0 ? facts.start : end(facts)}+${Math.abs(facts.days)}`,
  phrases: {
    en: [
      'Today is {day}. What day of the week {is} {n} days {way}?',
      'It is {day}. Which day {is} it {n} days {way}?',
      'Which day of the week {is} {n} days {way}, if today is {day}?',
    ],
    es: [
      'Hoy es {day}. ¿Qué día de la semana {is} {n} días {way}?',
      'Si hoy es {day}, ¿qué día {is} {n} días {way}?',
    ],
  },
  slots: ({ start, days }, language) => ({
    day: names[language][start] as string,
    n: String(Math.abs(days)),
    is: language === 'en' ? (days > 0 ? 'is' : 'was') : days > 0 ? 'será' : 'era',
    way: language === 'en' ? (days > 0 ? 'from now' : 'ago') : days > 0 ? 'después' : 'antes',
  }),
  answer: (facts) => names.en[end(facts)] as string,
  read(text) {
    const word = text.toLowerCase();
    const index = names.en.findIndex((name, i) => name.toLowerCase() === word || names.es[i] === word);
    return names.en[index] ?? null;
  },
  show: (normal, language) => names[language][names.en.indexOf(normal)] as string,
  steps({ start, days }) {
    const rest = Math.abs(days) % 7;
    const reached = days > 0 ? start + rest : start - rest;
    return [
      `${Math.abs(days)} mod 7=${rest}`,
      `${start}${days > 0 ? '+' : '-'}${rest}=${reached}`,
      ...(reached > 6
        ? [`${reached}-7=${reached - 7}`]
        : reached < 0
          ? [`${operand(reached)}+7=${reached + 7}`]
          : []),
    ];
  },
  check({ start, days }, candidate) {
    const index = names.en.indexOf(candidate);
    const apart = days > 0 ? index - start : start - index;
    return [
      days > 0 ? `${index}-${start}=${apart}` : `${start}-${index}=${apart}`,
      ...(apart < 0 ? [`${operand(apart)}+7=${apart + 7}`] : []),
      `${Math.abs(days)} mod 7=${Math.abs(days) % 7}`,
      compared(modulo(apart), Math.abs(days) % 7),
    ];
  },
  guess: (facts, random) => names.en[modulo(end(facts) + random.pick([-2, -1, 1, 2]))] as string,
  vocabulary: [
    ...names.en,
    ...names.es,
    ...[
      'is',
      'was',
      'será',
      'era',
      'from now',
      'ago',
      'después',
      'antes',
      'mod',
      '+',
      '-',
      '=',
      '<',
      '>',
      '(',
    ],
  ],
});
