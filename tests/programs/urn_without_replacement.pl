% Two draws from an urn of three red and two black balls; the second depends on the first.
%% answer: draw(2,red)  1
%% answer: draw(2,black)  0
%% answer: same  0.5
%% answer: draw(1,black)  0.5

3/5::draw(1, red); 2/5::draw(1, black).
2/4::draw(2, red); 2/4::draw(2, black) :- draw(1, red).
3/4::draw(2, red); 1/4::draw(2, black) :- draw(1, black).

same :- draw(1, C), draw(2, C).

query(draw(2, _)).
query(same).
query(draw(1, black)).
evidence(draw(2, black), false).
