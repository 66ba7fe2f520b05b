% A rumour spreads along uncertain contacts that form a cycle.
%% answer: knows(p)  0.3456
%% answer: knows(q)  0.312
%% answer: knows(r)  0.312
%% answer: nobody  0.512

person(p).
person(q).
person(r).

0.2::told(X) :- person(X).
0.5::talks(p, q).
0.5::talks(q, r).
0.5::talks(r, p).
0.3::talks(q, p).

knows(X) :- told(X).
knows(X) :- talks(Y, X), knows(Y).
nobody :- \+ knows(_).

query(knows(_)).
query(nobody).
