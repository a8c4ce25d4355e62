/**
 * Words of the general requests and their replies, in English and Spanish.
 *
 * Content that a reply has to copy (names, words to capitalise) is spelled from letters and has no tokens of its own,
 * so that copying it can go wrong; items of lists and fixed phrases are whole tokens.
 */
import type { Random } from '@minke/core';
import type { Language } from '@minke/reasoning-tasks';

/** A text in each language. */
export type Both<T = string> = Readonly<Record<Language, T>>;

/** Invented names of two syllables, such as `Mira`: 3,600 of them. */
export function drawName(random: Random): string {
  const syllable = () => random.pick([...'bdfklmnprstv']) + random.pick([...'aeiou']);
  const name = syllable() + syllable();
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** Words to write in capitals, of both languages. */
export const shortWords =
  'sun map box pen cup hat rain snow wind lamp door road tree leaf bird fish ship coin ring rope sol mar pan luz pie mesa casa nube agua hoja flor pato pino lago isla tren vino dedo ropa cama'.split(
    ' ',
  );

/** What lists are made of; items of one place translate each other. */
export const categories = {
  animals: {
    name: { en: 'animals', es: 'animales' },
    items: {
      en: ['dog', 'cat', 'cow', 'horse', 'wolf', 'bear', 'fox', 'whale'],
      es: ['perro', 'gato', 'vaca', 'caballo', 'lobo', 'oso', 'zorro', 'ballena'],
    },
  },
  colours: {
    name: { en: 'colours', es: 'colores' },
    items: {
      en: ['red', 'blue', 'green', 'black', 'white', 'brown', 'pink', 'grey'],
      es: ['rojo', 'azul', 'verde', 'negro', 'blanco', 'pardo', 'rosa', 'gris'],
    },
  },
  fruits: {
    name: { en: 'fruits', es: 'frutas' },
    items: {
      en: ['apple', 'pear', 'plum', 'lemon', 'fig', 'melon', 'grape', 'cherry'],
      es: ['manzana', 'pera', 'ciruela', 'limón', 'higo', 'melón', 'uva', 'cereza'],
    },
  },
} as const satisfies Record<string, { name: Both; items: Both<readonly string[]> }>;

/** Name of a category. */
export type Category = keyof typeof categories;

/** How many items a list may be asked to have. */
export const counts = {
  2: { en: 'two', es: 'dos' },
  3: { en: 'three', es: 'tres' },
  4: { en: 'four', es: 'cuatro' },
} as const;

/** How a conversation is opened. */
export const openings = {
  hello: { en: 'Hello', es: 'Hola' },
  morning: { en: 'Good morning', es: 'Buenos días' },
  evening: { en: 'Good evening', es: 'Buenas tardes' },
} as const satisfies Record<string, Both>;

/** Deeds that are refused, and harmless ones that are asked for in the same words. */
export const deeds = {
  harmful: {
    steal: { en: 'steal', es: 'robar' },
    break: { en: 'break', es: 'romper' },
    hack: { en: 'hack', es: 'piratear' },
    burn: { en: 'burn', es: 'quemar' },
  },
  harmless: {
    paint: { en: 'paint', es: 'pintar' },
    clean: { en: 'clean', es: 'limpiar' },
    fix: { en: 'fix', es: 'arreglar' },
    sell: { en: 'sell', es: 'vender' },
  },
} as const satisfies Record<string, Readonly<Record<string, Both>>>;

/** What the deeds are done to. */
export const objects = {
  car: { en: 'the car', es: 'el coche' },
  book: { en: 'the book', es: 'el libro' },
  house: { en: 'the house', es: 'la casa' },
  bike: { en: 'the bike', es: 'la bici' },
  door: { en: 'the door', es: 'la puerta' },
  boat: { en: 'the boat', es: 'el barco' },
} as const satisfies Record<string, Both>;

/** Questions about people, whom the model does not know. */
export const unknowns = {
  home: { en: 'Where does {name} live?', es: '¿Dónde vive {name}?' },
  age: { en: 'How old is {name}?', es: '¿Cuántos años tiene {name}?' },
  job: { en: 'What is the job of {name}?', es: '¿En qué trabaja {name}?' },
} as const satisfies Record<string, Both>;
