// Our side of the tokenizer benchmark: a vocabulary from the texts of a file.

import { trainBpe } from '../../../packages/tokenizer-merging/dist/tokenizer/index.js';
import { readCase, serve } from '../harness/serve.mjs';
import { mergesCheck, readTexts } from './texts.mjs';

const { path, mostBytes, vocabSize } = readCase();
const { texts } = readTexts(path, mostBytes);
const train = () => trainBpe(texts, { vocabSize });
await serve({ name: 'minke', check: mergesCheck(train().toJson().model.merges), call: train });
