import { auto } from '@minke/gpu-backends';
import { loadLanguageModel, saveLanguageModel } from '@minke/inference';
import { localPolicy } from '@minke/rl-trainer';
import { createLora, saveLora } from '@minke/transformer';

const folder = process.argv[2] ?? 'model';
const language = await loadLanguageModel(folder, { backend: await auto() });
const lora = createLora(language.model, { r: 8, alpha: 16, targets: ['attention'] }, { seed: 0 });
const adapted = language.model.withLora(lora); // language.model is still the base
const local = await localPolicy({ ...language, model: adapted }); // for trainGrpo, trainDpo, ...
const [sample] = await local.sampler.sample({
  ...{ prompts: [[1, 5, 9]], samplesPerPrompt: 1, maxNewTokens: 8, seed: 0 },
  ...{ temperature: 1, topP: 1, topK: 0, stopTokenIds: local.stopTokenIds },
});
console.log(`sampled ${sample?.tokens.length} tokens with the adapter`);
await saveLora(adapted, `adapter-${process.pid}`, { base: folder }); // PEFT loads it
await saveLanguageModel({ ...language, model: adapted }, `merged-${process.pid}`); // and merged
await local.dispose();
