export { check, type ErrorCode, MinkeError } from './errors.ts';
export { philox4x32, Random, type RandomState } from './philox.ts';
