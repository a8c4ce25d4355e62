import type { Category, counts, openings } from './general-words.ts';

/** What a general request is made of. */
export type GeneralFacts =
  | { readonly kind: 'greeting'; readonly opening: keyof typeof openings; readonly name: string }
  | { readonly kind: 'identity'; readonly opening: keyof typeof openings; readonly name: string }
  | { readonly kind: 'capitals'; readonly words: readonly string[] }
  | {
      readonly kind: 'list';
      readonly category: Category;
      readonly count: keyof typeof counts;
      /** Places of items that the list must not have, ascending. */
      readonly without: readonly number[];
    }
  | { readonly kind: 'harmful'; readonly deed: string; readonly object: string; readonly name: string }
  | { readonly kind: 'off_ground'; readonly about: string; readonly object: string; readonly name: string };

/** The kinds of general requests. */
export type GeneralKind = GeneralFacts['kind'];
