// Lets `import('webgpu')` of the built packages find the copy installed beside this file. Use: node --import.

import { register } from 'node:module';

const hooks = `export const resolve = (name, context, next) =>
  next(name, name === 'webgpu' ? { ...context, parentURL: ${JSON.stringify(import.meta.url)} } : context);`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
