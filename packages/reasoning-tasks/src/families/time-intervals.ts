/**
 * `time_intervals`: the minutes between two times of day.
 *
 * Levels 1 to 4: up to 2 hours in steps of 5 minutes; up to 4 hours; any two times of a day; the second time on a
 * later day. Both times become minutes since midnight; a candidate is added to the first.
 */
import { makeFamily } from '../task.ts';
import { compared } from './number-facts.ts';
import { readInteger } from './reading.ts';

/** The facts of an interval: minutes since midnight of its start, and its length. */
export interface TimeIntervalsFacts {
  readonly start: number;
  readonly end: number;
  /** Midnights between them. */
  readonly days: number;
}

const clock = (minutes: number) =>
  `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
const length = ({ start, end, days }: TimeIntervalsFacts) => end - start + days * 1440;

function minutesLine(minutes: number): string {
  return `${Math.floor(minutes / 60)}*60+${minutes % 60}=${minutes}`;
}

/** The end in minutes since the first midnight, with the lines that find it. */
function endLines({ end, days }: TimeIntervalsFacts): { lines: string[]; value: number } {
  const value = end + days * 1440;
  return {
    lines: [minutesLine(end), ...(days > 0 ? [`${end}+${days}*1440=${value}`] : [])],
    value,
  };
}

export const timeIntervals = makeFamily<
  'time_intervals',
  TimeIntervalsFacts,
  readonly [number, number, number]
>({
  name: 'time_intervals',
  levels: [
    [5, 120, 0],
    [1, 240, 0],
    [1, 1440, 0],
    [1, 1440, 3],
  ],
  make(random, [step, longest, most]) {
    const days = most > 0 ? random.integer(1, most + 1) : 0;
    const time = () => step * random.integer(0, 1440 / step);
    for (;;) {
      const [start, end] = [time(), time()];
      const between = end - start + days * 1440;
      if (between > 0 && between <= longest + days * 1440) return { start, end, days };
    }
  },
  form: ({ start, end, days }) => `${clock(start)}-${clock(end)}+${days}`,
  phrases: {
    en: [
      'How many minutes are there from {start} to {end}{later}?',
      'A meeting starts at {start} and ends at {end}{later}. How many minutes is that?',
      'What is the time from {start} to {end}{later} in minutes?',
    ],
    es: [
      '¿Cuántos minutos hay de las {start} a las {end}{later}?',
      'Minutos entre las {start} y las {end}{later}, ¿cuántos son?',
    ],
  },
  slots: ({ start, end, days }, language) => ({
    start: clock(start),
    end: clock(end),
    later: days === 0 ? '' : language === 'en' ? `, days later: ${days}` : `, días después: ${days}`,
  }),
  answer: (facts) => String(length(facts)),
  read: (text) => readInteger(text.replace(/ min(?:ut[eo]s)?$/, '')),
  steps(facts) {
    const { lines, value } = endLines(facts);
    return [...lines, minutesLine(facts.start), `${value}-${facts.start}=${length(facts)}`];
  },
  check(facts, candidate) {
    const { lines, value } = endLines(facts);
    const reached = facts.start + Number(candidate);
    return [
      minutesLine(facts.start),
      ...lines,
      `${facts.start}+${candidate}=${reached}`,
      compared(reached, value),
    ];
  },
  guess: (facts, random) =>
    String(Math.max(1, length(facts) + random.pick([-60, -40, -10, -1, 1, 10, 40, 60]))),
  vocabulary: ['*', '+', '-', '=', '<', '>', ':', ',', 'days later:', 'días después:'],
});
