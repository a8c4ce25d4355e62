/** Conformance calls of the sampler: every setting alone and together, peaked and flat rows, hostile numbers. */
import { type Draft, type Draw, f32, i32 } from './draw.ts';

/** [N, V] */
const sizes = [
  [1, 1],
  [0, 4],
  [5, 3],
  [9, 64],
  [8, 513],
  [3, 5000],
] as const;

const settings = [
  { temperature: 0, topK: 0, topP: 1, minP: 0 },
  { temperature: 1, topK: 0, topP: 1, minP: 0 },
  { temperature: 0.6, topK: 0, topP: 0.95, minP: 0 },
  { temperature: 1.5, topK: 0, topP: 0.37, minP: 0 },
  { temperature: 1, topK: 1, topP: 1, minP: 0 },
  { temperature: 1, topK: 7, topP: 1, minP: 0 },
  { temperature: 2, topK: 40, topP: 0.9, minP: 0 },
  { temperature: 0.8, topK: 0, topP: 1, minP: 0.1 },
  { temperature: 0.8, topK: 3000, topP: 0.93, minP: 0.03 },
];

export const samplingDrafts = {
  sample(draw: Draw): Draft<'sample'>[] {
    const inputs = (logits: ReturnType<typeof f32>, setting: (n: number) => (typeof settings)[number]) => {
      const rows = logits.shape[0]!;
      const each = <T>(f: (n: number) => T) => Array.from({ length: rows }, (_, n) => f(n));
      return [
        logits,
        f32(
          [rows],
          each((n) => setting(n).temperature),
        ),
        i32(
          [rows],
          each((n) => setting(n).topK),
        ),
        f32(
          [rows],
          each((n) => setting(n).topP),
        ),
        f32(
          [rows],
          each((n) => setting(n).minP),
        ),
        i32(
          [rows, 5],
          each((n) => [draw.random.uint32() | 0, n, n * 7 - 3, draw.random.integer(0, 1000), n % 2]).flat(),
        ),
      ];
    };
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
    const hostile = f32(
      [6, 4],
      [
        nan,
        nan,
        nan,
        nan,
        nan,
        -inf,
        -inf,
        -inf,
        nan,
        -1,
        nan,
        -2,
        -inf,
        -inf,
        -inf,
        -inf,
        0,
        inf,
        0,
        inf,
      ].concat([1, -inf, nan, 200]),
    );
    return [
      ...sizes.flatMap(([n, v]) =>
        settings.flatMap((setting) => [
          {
            label: JSON.stringify(setting),
            inputs: inputs(draw.normal([n, v], 3), () => setting),
            attributes: {},
          },
          {
            label: `ties, ${JSON.stringify(setting)}`,
            inputs: inputs(draw.among([n, v], [0, 1, 2.5, -40]), () => setting),
            attributes: {},
          },
        ]),
      ),
      {
        label: 'each row its own settings',
        inputs: inputs(draw.normal([settings.length, 300], 2), (n) => settings[n]!),
        attributes: {},
      },
      ...settings.map((setting) => ({
        label: 'hostile',
        inputs: inputs(hostile, () => setting),
        attributes: {},
      })),
    ];
  },
};
