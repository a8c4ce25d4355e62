export * from './chat/index.ts';
export * from './tokenizer/index.ts';
