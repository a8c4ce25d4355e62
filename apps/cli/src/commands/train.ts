/** `minke train`: one stage, or a whole recipe of them. */
import type { Command } from 'commander';
import { addTrainRecipe } from './train-recipe.ts';
import { addTrainSft } from './train-sft.ts';

export function addTrain(program: Command): void {
  const train = program.command('train').description('train a model');
  addTrainSft(train);
  addTrainRecipe(train);
}
