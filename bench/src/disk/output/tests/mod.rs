mod against_fio;
mod json;
mod logs;
mod table;
