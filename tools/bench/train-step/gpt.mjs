export async function benchTinyGpt() {}
