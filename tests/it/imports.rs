//! Inside these folders of the sources, files import one way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const FOLDERS: [&str; 2] = ["src/config", "src/lifecycle/plan"];

/// The files of a folder, each with those beside it that it imports; without `mod.rs`, which names them all, and tests.
fn imports(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut imports: BTreeMap<String, BTreeSet<String>> = files
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), imported(&text))
        })
        .collect();
    imports.retain(|file, _| file != "mod" && file != "tests");
    let files: BTreeSet<String> = imports.keys().cloned().collect();
    imports.values_mut().for_each(|of_file| of_file.retain(|file| files.contains(file)));
    imports
}

/// The modules after each `super::`, alone and in braces.
fn imported(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let groups = text.split("super::").skip(1).map(|after| match after.strip_prefix('{') {
        Some(group) => group.split(';').next().unwrap(),
        None => after.split_inclusive("::").next().unwrap(),
    });
    let words = groups.flat_map(|group| group.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c)));
    words.filter_map(|word| word.split_once("::")).map(|(module, _)| module.to_owned()).collect()
}

/// The files that import each other in a circle, and those that need one of them.
fn in_circles(mut imports: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    while let Some(leaf) =
        imports.iter().find(|(_, of_file)| of_file.is_empty()).map(|(file, _)| file.clone())
    {
        imports.remove(&leaf);
        imports.values_mut().for_each(|of_file| _ = of_file.remove(&leaf));
    }
    imports
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for folder in FOLDERS {
        let imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let count: usize = imports.values().map(BTreeSet::len).sum();
        assert!(count >= imports.len(), "{folder}: {count} imports read, {imports:?}");
        assert_eq!(in_circles(imports), BTreeMap::new(), "{folder}");
    }
}
