export { recipeStages } from './recipe.ts';
export { type RecipePreset, type RecipeSettings, recipeSettings } from './settings.ts';
