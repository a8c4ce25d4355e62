export {
  type AutoOptions,
  auto,
  type BackendChoice,
  type BackendName,
  backendInfo,
  type CreateOptions,
  createBackend,
} from './auto.ts';
