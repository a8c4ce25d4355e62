export type { MeasureSettings } from './measure.ts';
export type { ModelShape } from './model-shapes.ts';
export { recipeStages } from './recipe.ts';
export {
  type FitSettings,
  type RecipePreset,
  type RecipeSettings,
  type RlSettings,
  recipeSettings,
  type SamplingSettings,
} from './settings.ts';
