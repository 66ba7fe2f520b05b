% Comments of both kinds, several clauses on a line and clauses over several lines.
%% answer: c  0.2
%% answer: a  0.5

/* a block comment,
   query(nothing). */
0.5::a. 0.4::b. % query(b).

c :-
    a,   % first
    b.   /* second */

query(c). query(a).
