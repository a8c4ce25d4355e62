/**
 * Letters to count in: common English words of 6 to 12 letters, and invented words that can be pronounced.
 *
 * The real words are a plain list, so that questions people ask ("How many r are in strawberry?") have their
 * kind in training. None of them is a word of the prompts' own phrasing: a tokenizer with one token for each
 * word of the phrasing would hide its letters.
 */
import type { Random } from '@minke/core';

/** English words of 6 to 12 letters, lower case, all different. */
export const words: readonly string[] = `
absolute abstract academy accident accurate achieve actually address advance adventure afternoon airplane
airport alligator alphabet although amazing ambition ancient animal another antelope apartment apricot aquarium
architect argument artichoke assembly assistant asteroid astronaut athlete attention avocado balance balloon
banana barrier baseball basement basket battery beautiful bedroom believe benefit between bicycle birthday
biscuit blanket blossom blueberry bookkeeper boomerang bottle boundary branch breakfast brilliant broccoli
brother building butter butterfly button cabbage calendar camera candle cannon captain caravan caramel carpet
carrot castle cathedral celebrate central century ceremony certain champion chapter cheese cherry chicken
children chimney chocolate cinnamon circle citizen classroom climate coconut coffee collect college colorful
comfort committee common community company complete computer concert connect consider continent corridor cotton
country courage cousin coverage creative creature cricket crocodile crystal cucumber culture curious current
curtain custom danger daughter december decision deliver department desert dessert develop diamond dictionary
different difficult dinner dinosaur discover distance district dolphin domestic double dragon dragonfly drawing
driver eagerly earring earthquake eclipse economy education effort eggplant eleven elephant embassy emerald
emperor energy engine enormous entrance envelope equation evening everyone evidence exactly example excellent
exercise expensive explore express factory fairness familiar family famous fantastic farmer favorite feather
february festival fiction finger flamingo flashlight flower football forest forever forgotten formula fortune
fountain freedom friend frozen furniture future galaxy gallery garden garlic gentle geography giraffe glacier
goodness gorilla grammar grandfather grapefruit grasshopper gravity guitar hamburger hammer happiness harmony
harvest hazelnut helicopter history holiday honest honeybee horizon hospital however hundred hurricane
imagination important impossible incredible industry infinite innocent insect instead instrument interest island
jacket jellyfish jewelry journey jungle justice kangaroo ketchup keyboard kingdom kitchen knowledge ladder
language lantern laughter lemonade leopard liberty library lightning limousine liquid little lobster location
machine magazine magnetic mammoth mandarin marathon market marvelous massive meadow measure medicine melody
memory message midnight millennium mineral minister mirror mississippi mistake moderate moment monkey monster
morning mosquito mountain mushroom musician mystery narrow national natural necessary neighbor network newspaper
notebook nothing november object occasion october office opinion opposite orange orchestra original ostrich
outside oxygen oyster paddle painting palace pancake panther papaya parallel parent parliament parrot passenger
patience peanut penguin pepper perfect pharmacy photograph piano picture pigeon pillow pineapple pioneer
planet plastic platform pleasure pocket polite pomegranate popcorn popular possible potato practice precious
president pressure principle prisoner problem professor promise protein provide pumpkin purple puzzle pyramid
quality quarter quickly rabbit raccoon railroad rainbow raspberry reason recipe regular remember restaurant
rhythm ribbon river rocket royalty saddle sailor salmon sandwich satellite saturday sausage scarecrow science
scissors season secret senator sentence september shadow shelter shoulder silence silver simple skeleton
snowflake society soldier spaghetti special spinach squirrel stadium station stomach strawberry stream student
success sugar summer sunflower sunrise surprise swimming symphony teacher telephone television temperature
temple terrible theater thunder tomato tomorrow tornado tradition treasure triangle tropical trumpet turtle
twenty umbrella uncle universe vacation valley vampire vanilla vegetable vehicle victory village vinegar violin
volcano voyage waffle wallet walnut warrior waterfall watermelon weather wedding whisper whistle wilderness
window winter wisdom wonderful yellow yesterday yogurt zeppelin zucchini`
  .trim()
  .split(/\s+/)
  .filter((word) => word.length >= 6);

const onsets = 'b c d f g h j k l m n p r s t v w y z bl br cl cr dr fl gr pl pr qu sh sl sp st th tr'.split(
  ' ',
);
const nuclei = 'a e i o u a e i o u ai ee ea oo ou'.split(' ');
const codas = ['', '', '', ...'l n r s t m nd ll ss rr ng tt'.split(' ')];

/** An invented word of exactly `length` letters made of syllables, for example `stroolanner`. */
export function inventedWord(random: Random, length: number): string {
  let word = '';
  while (word.length < length) word += random.pick(onsets) + random.pick(nuclei) + random.pick(codas);
  return word.slice(0, length);
}
