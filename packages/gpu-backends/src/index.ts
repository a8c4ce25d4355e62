export {
  type AutoOptions,
  auto,
  type BackendChoice,
  type BackendName,
  backendInfo,
  createBackend,
} from './auto.ts';
