% Quotes are part of an atom's name here: 'x' and x do not match (unlike standard Prolog).
%% answer: quoted('x')  0.3
%% answer: meet  0
%% answer: found  0

0.3::quoted('x').
0.4::plain(x).

meet :- quoted(X), plain(X).
found :- quoted(x).

query(quoted(_)).
query(meet).
query(found).
