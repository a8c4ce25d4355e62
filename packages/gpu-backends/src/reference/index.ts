export { createReference, type ReferenceBackend, type ReferenceOptions } from './reference-backend.ts';
