% Strings in double quotes are a type of their own: "x" is not the atom x.
%% answer: label("cat")  0.3
%% answer: label("sea dog")  0.5
%% answer: label("")  0.2
%% answer: cat  0.3
%% answer: mixed  0
%% answer: empty  0.2

0.3::label("cat"); 0.5::label("sea dog"); 0.2::label("").
0.6::label_atom(cat).

cat :- label("cat").
mixed :- label(X), label_atom(X).
empty :- label("").

query(label(_)).
query(cat).
query(mixed).
query(empty).
